"""GPTQ repositories as Transformers with GPTQModel and optimum loads them."""
from functools import partial

import pytest
import torch

from checks import check_mutant, check_reader, our_logits, shift_zero_points, spoilt, swap_rows, zero_group
from readers import gptq_weights, load_gptq, logits, mean_kl

FORMATS = ["gptq", "dense:gptq"]
CASES = {
    "w4g128-sym": ["--bits", "4", "--group-size", "128", "--sym"],
    "w4g32-asym": ["--bits", "4", "--group-size", "32", "--no-sym"],
    "w4g32-asym-dynamic": ["--bits", "4", "--group-size", "32", "--no-sym", "--act-order", "dynamic"],
    "w4-channel-sym": ["--bits", "4", "--group-size", "-1", "--sym", "--act-order", "none"],
    "w4g64-sym-rtn": ["--method", "rtn", "--bits", "4", "--group-size", "64", "--sym"],
    "w4g64-sym-rotated": ["--bits", "4", "--group-size", "64", "--sym", "--transform", "rotate"],
    "w4g64-sym-gptaq": ["--bits", "4", "--group-size", "64", "--sym", "--gptaq-alpha", "0.5"],
    "w8g128-sym": ["--bits", "8", "--group-size", "128", "--sym"],
    "w8g32-asym": ["--bits", "8", "--group-size", "32", "--no-sym"],
    "w3g128-sym": ["--bits", "3", "--group-size", "128", "--sym"],
    "w3g32-asym": ["--bits", "3", "--group-size", "32", "--no-sym"],
    "w2g32-sym": ["--bits", "2", "--group-size", "32", "--sym"],
    "w2g32-asym-mse": ["--bits", "2", "--group-size", "32", "--no-sym", "--mse"],
}
LIMIT = 1e-6    # fp32 arithmetic on weights that the kernel rounds to F16
LIMIT_16 = 1e-4


@pytest.mark.parametrize("name", CASES)
def test_reader(name, quantized, forward_dump, windows):
    out = quantized(*CASES[name], formats=FORMATS)
    ours = our_logits(forward_dump, out["dense:gptq"], windows[:2])
    check_reader(load_gptq, gptq_weights, out["gptq"], out["dense:gptq"], windows[:2], ours, LIMIT)


def test_sixteen_bit_arithmetic(quantized, forward_dump, windows):
    out = quantized(*CASES["w4g128-sym"], formats=FORMATS)
    ours = our_logits(forward_dump, out["dense:gptq"], windows[:2])
    assert mean_kl(ours, logits(load_gptq(out["gptq"], torch.bfloat16), windows[:2])) <= LIMIT_16


MUTANTS = {
    "group zeroed": ("w4g128-sym", partial(zero_group, group=1)),
    "zero points off by one": ("w4g32-asym", partial(shift_zero_points, bits=4)),
    "rows swapped": ("w4g128-sym", swap_rows),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant(mutant, quantized, forward_dump, windows, tmp_path):
    name, change = MUTANTS[mutant]
    out = quantized(*CASES[name], formats=FORMATS)
    ours = our_logits(forward_dump, out["dense:gptq"], windows[:2])
    bad = spoilt(out["gptq"], tmp_path / "bad", "model.layers.0.mlp.down_proj", change)
    check_mutant(load_gptq, gptq_weights, bad, out["dense:gptq"], windows[:2], ours, LIMIT)
