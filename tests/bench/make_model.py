"""make_model.py FOLDER TOKENIZER_FOLDER [GIGABYTES]: a Llama-shaped model of random BF16 weights, for timing round to nearest."""

import json
import random
import shutil
import struct
import sys
from array import array
from pathlib import Path

HIDDEN, WIDE, HEADS, KV_HEADS = 2048, 8192, 32, 8


def shapes_of(layers: int, vocab: int) -> dict[str, list[int]]:
    head_dim = HIDDEN // HEADS
    shapes = {"model.embed_tokens.weight": [vocab, HIDDEN], "model.norm.weight": [HIDDEN], "lm_head.weight": [vocab, HIDDEN]}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {
            at + "input_layernorm.weight": [HIDDEN],
            at + "post_attention_layernorm.weight": [HIDDEN],
            at + "self_attn.q_proj.weight": [HIDDEN, HIDDEN],
            at + "self_attn.k_proj.weight": [KV_HEADS * head_dim, HIDDEN],
            at + "self_attn.v_proj.weight": [KV_HEADS * head_dim, HIDDEN],
            at + "self_attn.o_proj.weight": [HIDDEN, HIDDEN],
            at + "mlp.gate_proj.weight": [WIDE, HIDDEN],
            at + "mlp.up_proj.weight": [WIDE, HIDDEN],
            at + "mlp.down_proj.weight": [HIDDEN, WIDE],
        }
    return shapes


def random_block(count: int) -> bytes:
    """Normal numbers of deviation 0.02 as bfloat16."""
    draw = random.Random(7)
    floats = array("f", (draw.gauss(0, 0.02) for _ in range(count)))
    words = array("H", floats.tobytes())
    return words[1::2].tobytes()


def main() -> None:
    folder, source = Path(sys.argv[1]), Path(sys.argv[2])
    target = float(sys.argv[3]) * 1e9 if len(sys.argv) > 3 else 1.3e9
    config = json.loads((source / "config.json").read_text())
    vocab = config["vocab_size"]
    layers = max(1, round(target / 2 / (3 * HIDDEN * WIDE + 2.5 * HIDDEN * HIDDEN)))
    entries, end = {}, 0
    for name, shape in sorted(shapes_of(layers, vocab).items()):
        begin = end
        end += 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    block = random_block(1 << 20)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        left, shift = end, 0
        while left > 0:
            file.write((block[shift:] + block[:shift])[:left])
            left -= len(block)
            shift = (shift + 24690) % len(block)
    config |= {
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "num_hidden_layers": layers,
        "head_dim": HIDDEN // HEADS,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    for path in source.glob("*token*"):
        shutil.copy(path, folder)


main()
