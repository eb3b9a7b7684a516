#!/usr/bin/env python3
"""How far the perplexities of reference_gptq.py move when its arithmetic changes by what no one would call a difference.

usage: reference_spread.py MODEL CALIBRATION_IDS EVALUATION_IDS BITS GROUP_SIZE sym|asym dynamic|static|none VARIANT…
The ids are JSON lists of windows (test_quality.py says which). Variants: plain; reversed (order of the samples); f64 (forward pass in double
precision); f16 (scales rounded to F16, as containers store them); a number: seed of a relative change of 1e-7 of the weights.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

import reference_gptq


@torch.no_grad()
def perplexity(model_folder, samples, text, args, variant):
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float64 if variant == "f64" else torch.float32).eval()
    exact_grid = reference_gptq.grid
    if variant == "reversed":
        samples = samples[::-1]
    elif variant == "f16":
        reference_gptq.grid = lambda *a: (lambda scale, zero: (scale.half().double(), zero))(*exact_grid(*a))
    elif variant.isdigit():
        torch.manual_seed(int(variant))
        for weights in model.model.layers.parameters():
            weights.mul_(1 + 1e-7 * torch.randn_like(weights))
    elif variant not in ("plain", "f64"):
        sys.exit(f"variant {variant} is unknown\n{__doc__}")
    reference_gptq.quantize(model, samples, args, "gptq")
    reference_gptq.grid = exact_grid
    return reference_gptq.perplexity(model.float(), text, 256, 96)


def main():
    if len(sys.argv) < 9:
        sys.exit(__doc__)
    folder, calibration, evaluation, bits, group, sym, order, *variants = sys.argv[1:]
    args = type("Arguments", (), dict(damp=0.01, bits=int(bits), group_size=int(group), sym=sym == "sym", desc_act=order != "none",
                                      static_groups=order == "static"))
    samples, text = (torch.tensor(json.load(open(file))) for file in (calibration, evaluation))
    for variant in variants:
        print(f"{variant:<10} {perplexity(folder, list(samples), text.reshape(-1), args, variant):.6f}", flush=True)


main()
