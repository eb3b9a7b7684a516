#!/usr/bin/env python3
"""Prints the quickstart's table: size, bits per weight, perplexity and KL divergence of each output.

usage: quickstart_table.py MODEL ROWS      ROWS has lines "method<TAB>bits<TAB>output<TAB>JSON of mpiquant evaluate"
"""
import json
import math
import struct
import sys
from pathlib import Path


def weight_files(folder):
    return [f for f in folder.iterdir() if f.suffix == ".gguf" or (f.suffix == ".safetensors" and f.name.startswith("model"))]


def parameters(model):
    count = 0
    for path in weight_files(model):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        count += sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
    return count


def main():
    model, rows = Path(sys.argv[1]), Path(sys.argv[2])
    count, tiny = parameters(model), str(model)
    print(f"\n{'method':<10}{'bits':>5}  {'format':<20}{'size':>10}{'bits/weight':>13}{'perplexity':>12}{'KL divergence':>24}  where")
    for line in rows.read_text().splitlines():
        method, bits, folder, result = line.split("\t")
        result, size = json.loads(result), sum(f.stat().st_size for f in weight_files(Path(folder)))
        kind = "bfloat16" if folder == tiny else Path(folder).name
        kl = f"{result['kl_divergence']:.6f} ± {result['kl_standard_error']:.6f}"
        print(f"{method:<10}{bits:>5}  {kind:<20}{size / 1e6:>7.2f} MB{8 * size / count:>13.2f}{result['perplexity']:>12.5f}{kl:>24}  {folder}")
    print("bits/weight counts the whole file: embeddings and head stay at 16 bits. KL divergence in nats, against the original.")


if __name__ == "__main__":
    main()
