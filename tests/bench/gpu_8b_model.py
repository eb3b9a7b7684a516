#!/usr/bin/env python3
"""Writes a random model of Llama's shape, with calibration ids, for benchmarks: bfloat16 weights drawn once and repeated at shifting
offsets, so that gigabytes take seconds. The standard library only.

usage: gpu_8b_model.py FOLDER [--shape 8b|small] [--layers N] [--samples N] [--length N]
"""
import argparse
import json
import random
import struct
from pathlib import Path

SHAPES = {
    "8b": dict(hidden=4096, ffn=14336, heads=32, kv_heads=8, head_dim=128, vocab=128256, layers=32),
    "small": dict(hidden=256, ffn=768, heads=8, kv_heads=2, head_dim=32, vocab=2048, layers=2),
}
PERIOD = 1048573  # values that are drawn; prime, so that no two rows of a matrix begin alike


def bf16(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return struct.pack("<H", (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


def tensors(shape):
    """Name, rows, cols and whether it is a norm, in file order; one list for each shard."""
    hidden, ffn = shape["hidden"], shape["ffn"]
    q, kv = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield [("model.embed_tokens.weight", shape["vocab"], hidden, False)]
    for i in range(shape["layers"]):
        at = f"model.layers.{i}."
        yield [
            (at + "input_layernorm.weight", hidden, 0, True),
            (at + "post_attention_layernorm.weight", hidden, 0, True),
            (at + "self_attn.q_proj.weight", q, hidden, False),
            (at + "self_attn.k_proj.weight", kv, hidden, False),
            (at + "self_attn.v_proj.weight", kv, hidden, False),
            (at + "self_attn.o_proj.weight", hidden, q, False),
            (at + "mlp.gate_proj.weight", ffn, hidden, False),
            (at + "mlp.up_proj.weight", ffn, hidden, False),
            (at + "mlp.down_proj.weight", hidden, ffn, False),
        ]
    yield [("model.norm.weight", hidden, 0, True), ("lm_head.weight", shape["vocab"], hidden, False)]


def write_shard(path, entries, values, draw):
    header, offset = {}, 0
    for name, rows, cols, _ in entries:
        size = 2 * rows * max(cols, 1)
        header[name] = {"dtype": "BF16", "shape": [rows, cols] if cols else [rows], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, rows, cols, norm in entries:
            left = 2 * rows * max(cols, 1)
            if norm:
                file.write(bf16(1.0) * rows)
                continue
            start = 2 * draw.randrange(PERIOD)
            while left > 0:
                piece = values[start : start + left]
                file.write(piece)
                left -= len(piece)
                start = 0
    return offset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    arguments = parser.parse_args()
    shape = dict(SHAPES[arguments.shape])
    shape["layers"] = arguments.layers or shape["layers"]
    draw = random.Random(8)
    values = b"".join(bf16(draw.gauss(0, 0.02)) for _ in range(PERIOD))

    model = arguments.folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16", "attention_bias": False,
        "mlp_bias": False, "hidden_size": shape["hidden"], "intermediate_size": shape["ffn"], "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv_heads"], "head_dim": shape["head_dim"],
        "vocab_size": shape["vocab"], "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
    }
    (model / "config.json").write_text(json.dumps(config, indent=1))
    shards = list(tensors(shape))
    index, total = {}, 0
    for number, entries in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        total += write_shard(model / name, entries, values, draw)
        index.update({entry[0]: name for entry in entries})
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1))
    ids = [[draw.randrange(shape["vocab"]) for _ in range(arguments.length)] for _ in range(arguments.samples)]
    (arguments.folder / "ids.json").write_text(json.dumps(ids))
    print(f"{model}: {shape['layers']} layers, {total / 1e9:.2f} GB; {arguments.samples} samples of {arguments.length} ids")


if __name__ == "__main__":
    main()
