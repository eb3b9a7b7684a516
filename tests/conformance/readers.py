"""Other people's readers, each behind the same two questions: which weights it sees, and which logits it computes."""
import json
import logging
import urllib.request

import torch
import transformers

logging.getLogger("transformers").setLevel(logging.ERROR)


@torch.no_grad()
def logits(model, windows):
    """[n, T, V] in fp32."""
    return torch.cat([model(input_ids=w[None], use_cache=False).logits.float() for w in windows])


def mean_kl(ours, theirs):
    """Mean over all positions of KL(ours || theirs) in nats, from logits [..., V]."""
    p, q = ours.double().log_softmax(-1), theirs.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean().item()


def linears(model):
    """name -> module of the projections inside the layers, which is what gets quantized by default."""
    return {name: module for name, module in model.named_modules() if name.startswith("model.layers.") and name.endswith("_proj")}


def load_plain(folder, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu").eval()


def load_gptq(folder, dtype=torch.float32):
    """GPTQModel's plain torch kernel through Transformers and optimum (the kernel chosen by default compiles itself for minutes)."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    reader = transformers.GPTQConfig(bits=config["bits"], backend="gptq_torch")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu", quantization_config=reader).eval()


def gptq_weights(model):
    """name -> [N, K] in F16, as the kernel decodes it."""
    return {name: module.dequantize_weight().T for name, module in linears(model).items()}


def load_compressed_tensors(folder, dtype=torch.float32):
    # Transformers 5.23 builds the zero points of asymmetric models in another shape than the files have, except when it decodes at once.
    reader = transformers.CompressedTensorsConfig(dequantize=True)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map="cpu", quantization_config=reader).eval()


def compressed_tensors_weights(model):
    """name -> [N, K] in BF16, the stored type of the scales, in which the reader multiplies whatever dtype it is then asked for."""
    weights = {name: module.weight for name, module in linears(model).items()}
    assert all(torch.equal(w.to(torch.bfloat16).to(w.dtype), w) for w in weights.values())
    return {name: w.to(torch.bfloat16) for name, w in weights.items()}


def load_gguf(path, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype).eval()


GGUF_NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
              "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
              "ffn_norm": "post_attention_layernorm"}


def gguf_weights(path):
    """Hugging Face tensor name -> fp32 values in the row order of Hugging Face, decoded by gguf-py."""
    import gguf

    reader, out = gguf.GGUFReader(path), {}
    heads = {"attn_q": reader.fields["llama.attention.head_count"].contents(), "attn_k": reader.fields["llama.attention.head_count_kv"].contents()}
    for tensor in reader.tensors:
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32"))
        if tensor.name.startswith("blk."):
            _, layer, part, kind = tensor.name.split(".")
            if part in heads:  # GGUF interleaves the halves of each rotary head: [heads, dim/2, 2, …]
                values = values.reshape(heads[part], -1, 2, *values.shape[1:]).transpose(1, 2).reshape(values.shape)
            name = f"model.layers.{layer}.{GGUF_NAMES[part]}.{kind}"
        else:
            name = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}[tensor.name]
        out[name] = values
    return out


class LlamaCpp:
    """llama.cpp's server inside the xllamacpp package, on one thread."""

    def __init__(self, path, context=512):
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_gpu_layers, params.warmup, params.n_parallel = context, 0, False, 1
        params.cpuparams.n_threads = 1
        self.server = xllamacpp.Server(params)

    def post(self, path, body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer)

    def tokenize(self, text, add_special=False, parse_special=True):
        return self.post("/tokenize", dict(content=text, add_special=add_special, parse_special=parse_special))["tokens"]

    def log_probabilities(self, ids, vocabulary, harmless):
        """[V] after the tokens `ids`. A sampled fragment of a UTF-8 character would return nothing, so the token `harmless` is forced;
        the probabilities are taken before that."""
        answer = self.post("/completion", dict(prompt=ids, n_predict=1, n_probs=vocabulary, temperature=1.0, cache_prompt=True, top_k=0, top_p=1.0,
                                               min_p=0.0, logit_bias=[[harmless, 1000.0]]))
        out = torch.full((vocabulary,), float("-inf"))
        for entry in answer["completion_probabilities"][0]["top_logprobs"]:
            out[entry["id"]] = entry["logprob"]
        return out
