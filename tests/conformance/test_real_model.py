"""A real model through every reader: one run with 64 samples of 512 tokens, 4 bits in groups of 64.

Needs MPIQUANT_REAL_MODEL (the folder of a model, as SmolLM2-135M) and MPIQUANT_REAL_TEXT (a text for calibration); some ten minutes on two cores.
"""
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from checks import check_reader, dense_weights, our_logits
from conftest import program_path, run
from readers import (LlamaCpp, compressed_tensors_weights, gguf_weights, gptq_weights, load_compressed_tensors, load_gguf, load_gptq, logits,
                     mean_kl)

MODEL, TEXT = os.environ.get("MPIQUANT_REAL_MODEL"), os.environ.get("MPIQUANT_REAL_TEXT")
pytestmark = pytest.mark.skipif(not (MODEL and TEXT), reason="MPIQUANT_REAL_MODEL and MPIQUANT_REAL_TEXT name no model and text")
FORMATS = ["gptq", "dense:gptq", "compressed-tensors", "dense:compressed-tensors", "gguf:q4_0", "dense:q4_0"]
LIMIT = 1e-6
LIMIT_16 = 1e-4         # readers that round decoded weights to the 16 bits of the scales; llama.cpp keeps keys and values in 16 bits
POSITIONS = range(96, 112)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "out"
    run("mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", 2, program_path("MPIQUANT_BIN", "mpiquant"), "quantize", MODEL,
        "--group-size", 64, "--nsamples", 64, "--seqlen", 512, "--calibration", TEXT, "--threads", 1, "--dense-dtype", "float32",
        "--format", ",".join(FORMATS), "--output", out, "--quiet")
    return {f: out / f.replace(":", "-") for f in FORMATS}


@pytest.fixture(scope="module")
def window():
    """[1, 128] token ids of the text, from its end."""
    text = Path(TEXT).read_text(encoding="utf-8")[-20000:]
    return torch.tensor(AutoTokenizer.from_pretrained(MODEL)(text, add_special_tokens=False)["input_ids"][:128])[None]


def test_gptq(outputs, window, forward_dump):
    ours = our_logits(forward_dump, outputs["dense:gptq"], window)
    check_reader(load_gptq, gptq_weights, outputs["gptq"], outputs["dense:gptq"], window, ours, LIMIT_16)


def test_compressed_tensors(outputs, window, forward_dump):
    dense = outputs["dense:compressed-tensors"]
    check_reader(load_compressed_tensors, compressed_tensors_weights, outputs["compressed-tensors"], dense, window,
                 our_logits(forward_dump, dense, window), LIMIT_16)


def llama_cpp_kl(path, ours, ids, tokenizer):
    reader, harmless = LlamaCpp(path), tokenizer("e", add_special_tokens=False)["input_ids"][0]
    assert reader.tokenize(tokenizer.decode(ids)) == tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"]
    return mean_kl(ours[0, list(POSITIONS)], torch.stack([reader.log_probabilities(ids[: t + 1], ours.shape[-1], harmless) for t in POSITIONS]))


def as_f32_gguf(dense, out):
    run(program_path("MPIQUANT_BIN", "mpiquant"), "quantize", dense, "--method", "rtn", "--format", "gguf:f32", "--output", out, "--quiet")
    return next(out.glob("*.gguf"))


def test_gguf_of_groups_of_64(outputs, window, forward_dump, tmp_path):
    """No quantized GGUF type has such groups: the decoded weights go into the file."""
    dense = outputs["dense:gptq"]
    path, weights = as_f32_gguf(dense, tmp_path / "f32"), dense_weights(dense)
    for name, values in gguf_weights(path).items():
        assert torch.equal(values, weights[name].float()), name
    ours = our_logits(forward_dump, dense, window)
    assert mean_kl(ours, logits(load_gguf(path), window)) <= LIMIT
    kl = llama_cpp_kl(path, ours, window[0].tolist(), AutoTokenizer.from_pretrained(MODEL))
    print(f"KL divergence {kl:.2e}")
    assert kl <= LIMIT_16


def with_moved_norms(folder, out):
    """A copy of a dense repository whose norms are multiplied by 1 ± 1e-6."""
    shutil.copytree(folder, out)
    torch.manual_seed(0)
    for file in out.glob("*.safetensors"):
        save_file({k: t * (1 + 1e-6 * torch.randn_like(t)) if "layernorm" in k else t for k, t in load_file(file).items()}, file, metadata={"format": "pt"})
    return out


def test_gguf(outputs, window, forward_dump, tmp_path):
    path, dense = next(outputs["gguf:q4_0"].glob("*.gguf")), outputs["dense:q4_0"]
    theirs, weights = gguf_weights(path), dense_weights(dense)
    for name, values in theirs.items():
        assert torch.equal(values, weights[name].float()), name
    ours = our_logits(forward_dump, dense, window)
    assert mean_kl(ours, logits(load_gguf(path), window)) <= LIMIT
    tokenizer, ids = AutoTokenizer.from_pretrained(MODEL), window[0].tolist()
    assert llama_cpp_kl(as_f32_gguf(dense, tmp_path / "f32"), ours, ids, tokenizer) <= LIMIT_16
    # llama.cpp rounds activations to 8 bits, and this model's are so large that norms that differ by 1e-6 make other roundings all the way
    # up: no program is closer to llama.cpp there than the same rounding is to itself.
    rounded, moved = (our_logits(forward_dump, folder, window, "q8_0")[0, list(POSITIONS)] for folder in (dense, with_moved_norms(dense, tmp_path / "moved")))
    chance = mean_kl(rounded, moved.log_softmax(-1))
    kl = llama_cpp_kl(path, ours, ids, tokenizer)
    print(f"KL divergence {kl:.2e}, of rounded activations from themselves {chance:.2e}")
    assert kl <= 1.5 * chance and kl <= 5e-3


def test_gguf_of_the_rotated_model(window, forward_dump, tmp_path):
    """Without outliers the activations that llama.cpp rounds to 8 bits are near those that it does not round."""
    run("mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", 2, program_path("MPIQUANT_BIN", "mpiquant"), "quantize", MODEL,
        "--transform", "rotate", "--nsamples", 16, "--seqlen", 256, "--calibration", TEXT, "--threads", 1, "--dense-dtype", "float32", "--format",
        "gguf:q4_0,dense:q4_0", "--output", tmp_path / "out", "--quiet")
    ours = our_logits(forward_dump, tmp_path / "out" / "dense-q4_0", window)
    kl = llama_cpp_kl(next((tmp_path / "out" / "gguf-q4_0").glob("*.gguf")), ours, window[0].tolist(), AutoTokenizer.from_pretrained(MODEL))
    print(f"KL divergence {kl:.2e}")
    assert kl <= 2e-3
