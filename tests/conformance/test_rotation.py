"""Rotated models as other programs load them: ordinary ones of the same architecture that compute what the original computes."""
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ROOT, program_path, run
from readers import load_gguf, load_plain, logits

MODELS = ROOT / "tests" / "models"
LIMIT = 2e-5  # relative error of logits in fp32


def error(theirs, original):
    return ((theirs - original).norm() / original.norm()).item()


@pytest.fixture(scope="module", params=["tiny-llama3", "tiny-mistral"])  # the first has tied embeddings
def unquantized(request, tmp_path_factory):
    """(original, outputs of the model, outputs of the rotated one); folders that hold `dense` and `gguf-f32` without quantization."""
    model, out = MODELS / request.param, tmp_path_factory.mktemp("rotated")
    for name, options in {"plain": [], "rotated": ["--transform", "rotate"]}.items():
        run(program_path("MPIQUANT_BIN", "mpiquant"), "quantize", model, "--method", "rtn", "--rule", "*:dense", *options, "--dense-dtype", "float32",
            "--format", "dense,gguf:f32", "--output", out / name, "--quiet")
    return model, out / "plain", out / "rotated"


@pytest.fixture
def ids():
    return torch.arange(3, 67).reshape(1, -1)


def test_transformers(unquantized, ids):
    model, _, rotated = unquantized
    assert error(logits(load_plain(rotated / "dense"), ids), logits(load_plain(model), ids)) <= LIMIT


def test_gguf(unquantized, ids):
    # Both by the same reader, as that of Transformers leaves rope scaling and sliding windows out.
    _, plain, rotated = ([*folder.glob("gguf-f32/*.gguf")] for folder in unquantized)
    assert error(logits(load_gguf(rotated[0]), ids), logits(load_gguf(plain[0]), ids)) <= LIMIT


def test_one_run_writes_both_forms(unquantized, tmp_path):
    model, plain, rotated = unquantized
    run(program_path("MPIQUANT_BIN", "mpiquant"), "quantize", model, "--method", "rtn", "--rule", "*:dense", "--dense-dtype", "float32", "--format",
        "dense[name=plain],gguf:f32[transforms=rotate],dense[transforms=rotate],gguf:f32[name=gguf-plain]", "--output", tmp_path / "out", "--quiet")
    for mine, alone in {"plain": plain / "dense", "gguf-plain": plain / "gguf-f32", "dense": rotated / "dense", "gguf-f32": rotated / "gguf-f32"}.items():
        for file in [*alone.glob("*.safetensors"), *alone.glob("*.gguf"), alone / "config.json"]:
            if file.exists():
                assert (tmp_path / "out" / mine / file.name).read_bytes() == file.read_bytes(), file


def test_a_head_that_stayed_tied_is_seen(unquantized, ids, tmp_path):
    model, _, rotated = unquantized
    bad = shutil.copytree(rotated / "dense", tmp_path / "bad")
    (file,) = bad.glob("*.safetensors")
    tensors = load_file(file)
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, file, metadata={"format": "pt"})
    assert error(logits(load_plain(bad), ids), logits(load_plain(model), ids)) > 0.1
