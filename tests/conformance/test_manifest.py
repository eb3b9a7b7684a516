"""Headers of what the program writes against a manifest that follows from config.json alone, and the completeness of a repository."""
import hashlib
import json
import shutil

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

LINEARS = {"self_attn.q_proj": ("heads", "hidden"), "self_attn.k_proj": ("kv", "hidden"), "self_attn.v_proj": ("kv", "hidden"),
           "self_attn.o_proj": ("hidden", "heads"), "mlp.gate_proj": ("ffn", "hidden"), "mlp.up_proj": ("ffn", "hidden"), "mlp.down_proj": ("hidden", "ffn")}


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def gptq_tensors(n, k, bits, group, **_):
    groups = k // group
    return {"qweight": ("I32", [k * bits // 32, n]), "qzeros": ("I32", [groups, n * bits // 32]), "scales": ("F16", [groups, n]), "g_idx": ("I32", [k])}


def compressed_tensors(n, k, bits, group, symmetric):
    groups = k // group
    out = {"weight_packed": ("I32", [n, -(-k * bits // 32)]), "weight_scale": ("BF16", [n, groups]), "weight_shape": ("I64", [2])}
    return out if symmetric else {**out, "weight_zero_point": ("I32", [-(-n * bits // 32), groups])}


def expected_tensors(config, per_linear, dense="BF16"):
    """name -> (dtype, shape); per_linear(n, k) gives the tensors of a quantized linear."""
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    sizes = dict(hidden=config["hidden_size"], ffn=config["intermediate_size"], heads=config["num_attention_heads"] * head_dim,
                 kv=config["num_key_value_heads"] * head_dim)
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    out = {"model.embed_tokens.weight": (dense, [vocabulary, hidden]), "lm_head.weight": (dense, [vocabulary, hidden]), "model.norm.weight": (dense, [hidden])}
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"model.layers.{layer}.{norm}.weight"] = (dense, [hidden])
        for name, (n, k) in LINEARS.items():
            for piece, stored in per_linear(sizes[n], sizes[k]).items():
                out[f"model.layers.{layer}.{name}.{piece}"] = stored
    return out


def stored_tensors(folder):
    """name -> (dtype, shape) of all shards, as safetensors reads their headers."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            for name in file.keys():
                assert name not in out
                out[name] = (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape())
    return out


CASES = {
    "gptq-w4g128-sym": (["--bits", "4", "--group-size", "128", "--sym"], "gptq", dict(bits=4, group=128, symmetric=True)),
    "gptq-w3g128-sym": (["--bits", "3", "--group-size", "128", "--sym"], "gptq", dict(bits=3, group=128, symmetric=True)),
    "gptq-w4g32-asym": (["--bits", "4", "--group-size", "32", "--no-sym"], "gptq", dict(bits=4, group=32, symmetric=False)),
    "ct-w4g128-sym": (["--bits", "4", "--group-size", "128", "--sym"], "compressed-tensors", dict(bits=4, group=128, symmetric=True)),
    "ct-w4g32-asym": (["--bits", "4", "--group-size", "32", "--no-sym"], "compressed-tensors", dict(bits=4, group=32, symmetric=False)),
    "ct-w8g128-sym": (["--bits", "8", "--group-size", "128", "--sym"], "compressed-tensors", dict(bits=8, group=128, symmetric=True)),
}
TENSORS = {"gptq": gptq_tensors, "compressed-tensors": compressed_tensors}


def made(quantized, name):
    options, container, grid = CASES[name]
    return quantized(*options, formats=[container, f"dense:{container}"])[container], container, grid


@pytest.mark.parametrize("name", CASES)
def test_headers(name, quantized):
    folder, container, grid = made(quantized, name)
    assert stored_tensors(folder) == expected_tensors(config_of(folder), lambda n, k: TENSORS[container](n, k, **grid))


def test_dense_headers(quantized):
    options, container, _ = CASES["gptq-w4g128-sym"]
    folder = quantized(*options, formats=[container, f"dense:{container}"])[f"dense:{container}"]
    assert stored_tensors(folder) == expected_tensors(config_of(folder), lambda n, k: {"weight": ("F32", [n, k])}, dense="F32")
    assert config_of(folder)["dtype"] == "float32" and "quantization_config" not in config_of(folder)


@pytest.mark.parametrize("name", CASES)
def test_config(name, quantized, tiny_llama):
    folder, container, grid = made(quantized, name)
    config = config_of(folder)
    quantization = config.pop("quantization_config")
    assert config == config_of(tiny_llama)
    assert quantization["quant_method"] == container
    if container == "gptq":
        assert quantization == json.loads((folder / "quantize_config.json").read_text())
        assert (quantization["bits"], quantization["group_size"], quantization["sym"]) == (grid["bits"], grid["group"], grid["symmetric"])
        assert quantization["desc_act"] is False and quantization["checkpoint_format"] == ("gptq" if grid["symmetric"] else "gptq_v2")
    else:
        weights = quantization["config_groups"]["group_0"]["weights"]
        assert quantization["format"] == "pack-quantized" and quantization["quantization_status"] == "compressed" and quantization["ignore"] == ["lm_head"]
        assert (weights["num_bits"], weights["group_size"], weights["symmetric"]) == (grid["bits"], grid["group"], grid["symmetric"])


@pytest.mark.parametrize("name", ["gptq-w4g128-sym", "ct-w4g128-sym"])
def test_complete(name, quantized, tiny_llama):
    folder = made(quantized, name)[0]
    for carried in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / carried).read_bytes() == (tiny_llama / carried).read_bytes()
    sums = dict(reversed(line.split("  ", 1)) for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    assert sums.keys() == files and {"README.md", "mpiquant.json", "model.safetensors", "config.json"} <= files
    for path, digest in sums.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest, path


def test_shards(quantized):
    options, container, grid = CASES["gptq-w4g128-sym"]
    whole = made(quantized, "gptq-w4g128-sym")[0]
    folder = quantized(*options, "--max-shard-size", "1MB", formats=["gptq"])["gptq"]
    shards = sorted(p.name for p in folder.glob("*.safetensors"))
    assert shards == [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))] and len(shards) > 3
    assert stored_tensors(folder) == stored_tensors(whole)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    where = {}
    for shard in shards:
        with safe_open(folder / shard, "pt") as file:
            where.update({name: shard for name in file.keys()})
            bytes_of = sum(file.get_tensor(n).nbytes for n in file.keys())
        assert bytes_of <= 10**6 or len([w for w in where.values() if w == shard]) == 1
    assert index["weight_map"] == where
    with safe_open(whole / "model.safetensors", "pt") as file:
        assert index["metadata"]["total_size"] == sum(file.get_tensor(n).nbytes for n in file.keys())


def test_mutant(quantized, tmp_path):
    """A tensor of another shape is seen."""
    folder, container, grid = made(quantized, "gptq-w4g128-sym")
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    tensors = load_file(bad / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.g_idx"
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, bad / "model.safetensors", {"format": "pt"})
    assert stored_tensors(bad) != expected_tensors(config_of(bad), lambda n, k: TENSORS[container](n, k, **grid))
