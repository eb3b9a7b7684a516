"""Outputs whose linears differ, and heads that are quantized, loaded as their model cards say."""
import pytest
import torch

from checks import dense_weights, our_logits, unequal
from readers import load_compressed_tensors, load_plain, logits, mean_kl

CASES = {
    "mixed": ["--bits", "4", "--group-size", "64", "--sym", "--rule", "*.down_proj:bits=8", "--rule", "*.o_proj:bits=8"],
    "dense": ["--bits", "4", "--group-size", "64", "--sym", "--rule", "model.layers.2.*:dense"],
    "head": ["--bits", "4", "--group-size", "64", "--sym", "--lm-head"],
}
LINEARS = {"mixed": 42, "dense": 35, "head": 43}
LIMIT, LIMIT_16 = 1e-6, 1e-4


def load_gptqmodel(folder):
    """GPTQModel by itself, which reads what Transformers does not: `dynamic` and quantized heads."""
    from gptqmodel import BACKEND, GPTQModel

    return GPTQModel.load(str(folder), backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16).model.eval()


def gptqmodel_weights(model):
    return {name: module.dequantize_weight().T for name, module in model.named_modules() if hasattr(module, "qweight")}


@pytest.mark.parametrize("name", CASES)
def test_gptqmodel(name, quantized, forward_dump, windows):
    out = quantized(*CASES[name], formats=["gptq", "dense:gptq"])
    assert "GPTQModel.load(" in (out["gptq"] / "README.md").read_text()
    model = load_gptqmodel(out["gptq"])
    theirs = gptqmodel_weights(model)
    assert len(theirs) == LINEARS[name]
    assert unequal(theirs, dense_weights(out["dense:gptq"])) == []
    ours = our_logits(forward_dump, out["dense:gptq"], windows[:2])
    assert mean_kl(ours, logits(model, windows[:2])) <= LIMIT_16


@pytest.mark.parametrize("name", ["mixed", "dense"])
def test_compressed_tensors(name, quantized, forward_dump, windows):
    out = quantized(*CASES[name], formats=["compressed-tensors", "dense:compressed-tensors"])
    ours = our_logits(forward_dump, out["dense:compressed-tensors"], windows[:2])
    assert mean_kl(ours, logits(load_plain(out["compressed-tensors"]), windows[:2])) <= LIMIT


def test_the_notes_are_true(quantized, forward_dump, windows):
    """What a card warns of does happen with this reader; with another one the note may go."""
    out = quantized(*CASES["mixed"], formats=["compressed-tensors", "dense:compressed-tensors"])
    assert "decodes the others wrongly" in (out["compressed-tensors"] / "README.md").read_text()
    ours = our_logits(forward_dump, out["dense:compressed-tensors"], windows[:2])
    assert mean_kl(ours, logits(load_compressed_tensors(out["compressed-tensors"]), windows[:2])) > 0.1
