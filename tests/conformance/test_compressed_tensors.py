"""compressed-tensors repositories as Transformers with the compressed-tensors package loads them."""
from functools import partial

import pytest
import torch

from checks import check_mutant, check_reader, our_logits, shift_zero_points, spoilt, swap_rows, zero_group
from readers import compressed_tensors_weights, load_compressed_tensors, load_plain, logits, mean_kl

FORMATS = ["compressed-tensors", "dense:compressed-tensors"]
CASES = {
    "w4g128-sym": ["--bits", "4", "--group-size", "128", "--sym"],
    "w4g32-asym": ["--bits", "4", "--group-size", "32", "--no-sym"],
    "w4-channel-sym": ["--bits", "4", "--group-size", "-1", "--sym"],
    "w4-channel-asym": ["--bits", "4", "--group-size", "-1", "--no-sym"],
    "w8g128-sym": ["--bits", "8", "--group-size", "128", "--sym"],
    "w8-channel-sym": ["--bits", "8", "--group-size", "-1", "--sym"],
    "w8g128-asym": ["--bits", "8", "--group-size", "128", "--no-sym"],
    "w2g32-sym": ["--bits", "2", "--group-size", "32", "--sym"],
    "w2g32-asym": ["--bits", "2", "--group-size", "32", "--no-sym"],
}
LIMIT, LIMIT_16 = 1e-6, 1e-4


@pytest.mark.parametrize("name", CASES)
def test_reader(name, quantized, forward_dump, windows):
    out = quantized(*CASES[name], formats=FORMATS)
    repository, dense = out["compressed-tensors"], out["dense:compressed-tensors"]
    ours = our_logits(forward_dump, dense, windows[:2])
    check_reader(load_compressed_tensors, compressed_tensors_weights, repository, dense, windows[:2], ours, LIMIT)
    sixteen = load_compressed_tensors(repository, torch.bfloat16)
    assert mean_kl(ours, logits(sixteen, windows[:2])) <= LIMIT_16


def test_loads_without_options(quantized, forward_dump, windows):
    """Symmetric models need no option of the reader: from_pretrained, then the first forward pass decodes."""
    out = quantized(*CASES["w4g128-sym"], formats=FORMATS)
    ours = our_logits(forward_dump, out["dense:compressed-tensors"], windows[:2])
    assert mean_kl(ours, logits(load_plain(out["compressed-tensors"]), windows[:2])) <= LIMIT


MUTANTS = {
    "group zeroed": ("w4g128-sym", partial(zero_group, group=1)),
    "zero points off by one": ("w4g32-asym", partial(shift_zero_points, bits=4)),
    "rows swapped": ("w4g128-sym", swap_rows),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant(mutant, quantized, forward_dump, windows, tmp_path):
    name, change = MUTANTS[mutant]
    out = quantized(*CASES[name], formats=FORMATS)
    dense = out["dense:compressed-tensors"]
    ours = our_logits(forward_dump, dense, windows[:2])
    bad = spoilt(out["compressed-tensors"], tmp_path / "bad", "model.layers.0.mlp.down_proj", change)
    check_mutant(load_compressed_tensors, compressed_tensors_weights, bad, dense, windows[:2], ours, LIMIT)
