#!/usr/bin/env python3
"""make_seeds.py: writes seeds/TARGET/*, small valid inputs of every parser that is fuzzed. Inputs that once broke one are kept beside
them as regression-*; this script leaves those alone."""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
BITS = {"F32": 32, "BF16": 16, "F16": 16, "I32": 32, "I64": 64, "U8": 8, "F8_E4M3": 8, "F4": 4}


def write(target, name, data):
    path = HERE / "seeds" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors(tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes or None for zeros)"""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, content) in tensors.items():
        count = 1
        for extent in shape:
            count *= extent
        content = content or bytes(count * BITS[dtype] // 8)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


KINDS = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?"), "u64": (10, "<Q")}


def gguf(values, tensors, version=3, alignment=32):
    """values: (key, kind, value), kind also "str", "[str]", "[i32]" …; tensors: (name, dims, type, bytes)"""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    for key, kind, value in values:
        out += text(key)
        if kind == "str":
            out += struct.pack("<i", 8) + text(value)
        elif kind == "[str]":
            out += struct.pack("<iiQ", 9, 8, len(value)) + b"".join(text(v) for v in value)
        elif kind.startswith("["):
            number, form = KINDS[kind[1:-1]]
            out += struct.pack("<iiQ", 9, number, len(value)) + b"".join(struct.pack(form, v) for v in value)
        else:
            number, form = KINDS[kind]
            out += struct.pack("<i", number) + struct.pack(form, value)
    data = b""
    for name, dims, kind, size in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<q", d) for d in dims)
        out += struct.pack("<iQ", kind, len(data))
        data += bytes(size) + bytes(-size % alignment)
    return out + bytes(-len(out) % alignment) + data


LLAMA = [("general.architecture", "str", "llama"), ("llama.block_count", "u32", 1), ("llama.embedding_length", "u32", 32),
         ("llama.feed_forward_length", "u32", 64), ("llama.attention.head_count", "u32", 2),
         ("llama.attention.head_count_kv", "u32", 1), ("llama.context_length", "u32", 128),
         ("llama.attention.layer_norm_rms_epsilon", "f32", 1e-5), ("llama.rope.freq_base", "f32", 10000.0)]
TOKENS = [("tokenizer.ggml.model", "str", "gpt2"), ("tokenizer.ggml.tokens", "[str]", ["a", "b", "ab"]),
          ("tokenizer.ggml.token_type", "[i32]", [1, 1, 1]), ("tokenizer.ggml.merges", "[str]", ["a b"]),
          ("tokenizer.ggml.scores", "[f32]", [0.0, 1.0, -2.0]), ("tokenizer.ggml.bos_token_id", "u32", 1),
          ("tokenizer.ggml.add_bos_token", "bool", True)]


def llama_tensors(kind, block_bytes):
    """Rows are whole blocks of 32; kind 0 is F32."""
    size = lambda cols, rows: (cols // 32 * rows * block_bytes)
    rows = [("token_embd.weight", [32, 8], kind, size(32, 8)), ("blk.0.attn_norm.weight", [32], 0, 128),
            ("blk.0.attn_q.weight", [32, 32], kind, size(32, 32)), ("blk.0.attn_k.weight", [32, 16], kind, size(32, 16)),
            ("blk.0.ffn_down.weight", [64, 32], kind, size(64, 32)), ("output_norm.weight", [32], 0, 128)]
    return rows


def protobuf(field, value):
    if isinstance(value, bytes):
        return bytes([field << 3 | 2]) + varint(len(value)) + value
    if isinstance(value, float):
        return bytes([field << 3 | 5]) + struct.pack("<f", value)
    return bytes([field << 3]) + varint(value)


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def spm(model_type, pieces):
    out = b""
    for piece, score, kind in pieces:
        out += protobuf(1, protobuf(1, piece.encode()) + protobuf(2, score) + protobuf(3, kind))
    out += protobuf(2, protobuf(3, model_type))
    return out + protobuf(3, protobuf(1, b"identity") + protobuf(3, 1) + protobuf(4, 1) + protobuf(5, 1))


PIECES = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("\u2581", -1.0, 1), ("a", -2.0, 1), ("b", -3.0, 1),
          ("ab", -1.5, 1), ("\u2581a", -1.2, 1), ("<0x0A>", 0.0, 6)]


def byte_level(pattern):
    alphabet = {c: i for i, c in enumerate("abcIt'sdj1234\u0120\u010a")}
    alphabet.update({"ab": 20, "\u0120a": 21})
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"version": "1.0", "added_tokens": [{"id": 17, "content": "<s>", "special": True, "single_word": False,
                                                "lstrip": False, "rstrip": True, "normalized": False}],
            "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "post_processor": {"type": "TemplateProcessing",
                               "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                               "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [17], "tokens": ["<s>"]}}},
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
                      "ignore_merges": True, "vocab": alphabet, "merges": ["a b", ["\u0120", "a"]]}}


def sentencepiece_like():
    steps = [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
             {"type": "NFC"}]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "\u2581": 3, "a": 4, "b": 5, "ab": 6, "<0x0A>": 7, "\u2581a": 8}
    return {"version": "1.0", "added_tokens": [], "normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": None,
            "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocab,
                      "merges": ["a b", "\u2581 a"]}}


def report():
    rank = {"seconds": {"forward": 1.5, "wait": 0.25}, "bytes": {"read": 10}, "tokens": 5, "bytes_read": 7, "peak_memory": 9}
    tensor = {"module": "model.layers.1.mlp.up_proj", "codec": "int4", "error": 0.5, "damp_percent": 0.01, "damp_retries": 1}
    return {"seconds": 2.0, "model": "m", "output": "o", "stages": 1, "replicas": 1, "ranks": [rank, rank],
            "plan": [{"memory": 10}], "tensors": [tensor], "fallbacks": ["one"]}


def main():
    plain = {"a": ("BF16", [2, 3], None), "b": ("F32", [], None), "c": ("F8_E4M3", [0, 4], None), "d": ("F4", [4], None)}
    write("safetensors", "plain", safetensors(plain, {"format": "pt"}))
    write("safetensors", "empty", safetensors({}))
    write("safetensors", "quantized", safetensors({"m.qweight": ("I32", [4, 4], None), "m.g_idx": ("I32", [32], None)}))

    write("gguf", "f32", gguf(LLAMA + TOKENS, llama_tensors(0, 128)))
    write("gguf", "q4_0", gguf(LLAMA, llama_tensors(2, 18)))
    write("gguf", "q8_0", gguf(LLAMA, llama_tensors(8, 34), version=2))
    write("gguf", "aligned", gguf([("general.alignment", "u32", 64)] + LLAMA, llama_tensors(3, 20), alignment=64))
    write("gguf", "types", gguf([("a", "u64", 1), ("b", "[f32]", []), ("c", "[bool]", [True])], []))

    for model in ("tiny-llama", "tiny-llama3", "tiny-mistral"):
        write("config", model, (ROOT / "tests/models" / model / "config.json").read_bytes())
    base = json.loads((ROOT / "tests/models/tiny-llama/config.json").read_text())
    for kind in ("linear", "yarn", "llama3"):
        rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 64, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0}
        write("config", "rope-" + kind, json.dumps({**base, "rope_parameters": rope, "eos_token_id": [1, 2]}))

    write("tokenizer_json", "split", json.dumps(byte_level(r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+")))
    write("tokenizer_json", "possessive", json.dumps(byte_level(r" ?\p{L}++|\p{N}|[^\s]+|\s*[\r\n]")))
    write("tokenizer_json", "sentencepiece", json.dumps(sentencepiece_like()))
    write("tokenizer_model", "bpe", spm(2, PIECES))
    write("tokenizer_model", "unigram", spm(1, PIECES))
    for recipe in sorted((ROOT / "configs/recipes").glob("*.yaml")):
        write("recipe_yaml", recipe.stem, recipe.read_bytes())

    gptq = {"m.qweight": ("I32", [4, 32], None), "m.qzeros": ("I32", [1, 4], None), "m.scales": ("F16", [1, 32], None),
            "m.g_idx": ("I32", [32], None), "n.weight": ("F16", [4], None)}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "gptq", "bits": 4}}
    write("repository", "gptq", json.dumps(config).encode() + b"\0" + safetensors(gptq))
    packed = {"m.weight_packed": ("I32", [8, 4], None), "m.weight_scale": ("BF16", [8, 1], None),
              "m.weight_shape": ("I64", [2], struct.pack("<qq", 8, 32)), "m.weight_zero_point": ("I32", [1, 1], None)}
    weights = {"num_bits": 4, "group_size": 32, "symmetric": False}
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "pack-quantized",
                                     "config_groups": {"group_0": {"weights": weights}}}
    write("repository", "compressed-tensors", json.dumps(config).encode() + b"\0" + safetensors(packed))
    write("repository", "plain", b"{}\0" + safetensors(plain))
    write("report", "report", json.dumps(report()))


if __name__ == "__main__":
    main()
