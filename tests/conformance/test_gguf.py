"""GGUF files as gguf-py, Transformers and llama.cpp (xllamacpp) load them."""
import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer

from conftest import ROOT, program_path, run
from checks import dense_weights, our_logits
from readers import LlamaCpp, gguf_weights, load_gguf, logits, mean_kl

# type: (how it is made, the dense output of the same codes)
CASES = {
    "q4_0": (["--bits", "4", "--sym"], "dense:q4_0"),
    "q4_1": (["--bits", "4", "--no-sym"], "dense:q4_1"),
    "q8_0": (["--bits", "8", "--sym"], "dense:q8_0"),
    "q4_0 and others": (["--bits", "4", "--sym", "--rule", "*.down_proj:codec=q8_0", "--rule", "*.v_proj:codec=q4_1"], "dense:q4_0"),
    "f32": (["--method", "rtn"], None),
    "f16": (["--method", "rtn"], None),
    "bf16": (["--method", "rtn"], None),
}
LIMIT = 1e-6            # fp32 arithmetic on the decoded weights
LIMIT_LLAMA_CPP = 1e-3  # llama.cpp rounds activations to 8 bits for the quantized types
LIMIT_ROUNDED = 6e-7    # so do we; its keys and values have 16 bits, and what is near the middle of two codes goes either way
POSITIONS = range(160, 208)


@pytest.fixture(scope="session")
def files(quantized, tiny_llama):
    """files(type) -> (path of the GGUF file, folder of a dense repository with the same weights)."""

    def make(kind):
        options, dense = CASES[kind]
        of_kind = f"gguf:{kind.split()[0]}"
        out = quantized(*options, formats=[of_kind] + ([dense] if dense else []))
        found = sorted(out[of_kind].glob("*.gguf"))
        assert len(found) == 1, found
        return found[0], out[dense] if dense else tiny_llama

    return make


@pytest.mark.parametrize("kind", CASES)
def test_gguf_py(kind, files):
    path, dense = files(kind)
    theirs, ours = gguf_weights(path), dense_weights(dense)
    assert theirs.keys() == ours.keys()
    stored = {"f16": torch.float16}.get(kind, torch.float32)
    for name, w in theirs.items():
        expected = ours[name].float()
        assert torch.equal(w, expected.to(stored).float() if w.dim() == 2 else expected), name


def test_types_follow_the_rules(files):
    from gguf import GGUFReader

    path, _ = files("q4_0 and others")
    types = {t.name: t.tensor_type.name for t in GGUFReader(path).tensors if t.name.startswith("blk.") and len(t.shape) == 2}
    assert len(types) == 42
    for name, stored in types.items():
        assert stored == ("Q8_0" if "ffn_down" in name else "Q4_1" if "attn_v" in name else "Q4_0"), name


@pytest.mark.parametrize("kind", CASES)
def test_transformers(kind, files, forward_dump, windows):
    path, dense = files(kind)
    ours = our_logits(forward_dump, dense, windows[:2])
    assert mean_kl(ours, logits(load_gguf(path), windows[:2])) <= LIMIT


def llama_cpp_kl(path, ours, window, tokenizer):
    reader, harmless = LlamaCpp(path), tokenizer.convert_tokens_to_ids("e")
    theirs = torch.stack([reader.log_probabilities(window[: t + 1].tolist(), ours.shape[-1], harmless) for t in POSITIONS])
    return mean_kl(ours[list(POSITIONS)], theirs)


@pytest.mark.parametrize("kind", CASES)
def test_llama_cpp(kind, files, forward_dump, windows, tiny_llama):
    path, dense = files(kind)
    ours = our_logits(forward_dump, dense, windows[:1])[0]
    limit = LIMIT_LLAMA_CPP if kind.startswith("q") else 1e-4 if kind != "f32" else LIMIT
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    plain = llama_cpp_kl(path, ours, windows[0], tokenizer)
    assert plain <= limit
    if kind.startswith("q"):
        rounded = llama_cpp_kl(path, our_logits(forward_dump, dense, windows[:1], "q8_0")[0], windows[0], tokenizer)
        print(f"{kind}: KL divergence {plain:.2e}, with rounded activations {rounded:.2e}")
        assert rounded <= LIMIT_ROUNDED and rounded <= plain


def test_evaluate_as_llama_cpp(files):
    """`evaluate --activations q8_0` of the file is the rounded forward pass of its weights, and not the plain one."""
    path, dense = files("q4_0")
    text = ROOT / "configs" / "calibration" / "corpus-evaluation.txt"

    def kl(*options):
        out = run(program_path("MPIQUANT_BIN", "mpiquant"), "evaluate", path, "--reference", dense, "--text", text, "--window", 64, "--max-windows", 4, "--json",
                  "--quiet", *options)
        return json.loads(out.strip().splitlines()[-1])["kl_divergence"]

    assert kl() <= 1e-9
    assert 1e-7 <= kl("--activations", "q8_0") <= LIMIT_LLAMA_CPP


def test_llama_cpp_tokenizer(files, tiny_llama):
    """Ids of texts in several scripts, with and without the tokens that a model puts first."""
    tokenizer, reader = AutoTokenizer.from_pretrained(tiny_llama), LlamaCpp(files("q8_0")[0])
    texts = ["Mira has 3 apples and 12345 nuts.", "  two  spaces\n\n\tand\r\nlines \n", "Zoë, Björn & Inés: 山川 🙂 مرحبا שלום", "don't WE'LL I'm they'RE",
             "def f(x):\n    return x * 2  # x²", "<|begin|>not the text but the token<|end|>", "x" * 300, "\u00a0\u2003\u200b~`|"]
    for text in texts:
        assert reader.tokenize(text) == tokenizer(text, add_special_tokens=False)["input_ids"], text
        assert reader.tokenize(text, add_special=True) == tokenizer(text)["input_ids"], text


def zero_block(data, rows):
    """The scale of block 1 of every row."""
    data.reshape(rows, -1)[:, 18:20] = 0


def shift_zero(data, rows):
    """Every code is one smaller where that borrows nothing: as a zero point that is one larger."""
    blocks = data.reshape(-1, 18)[:, 2:]
    blocks -= ((blocks & 0x0F) > 0).astype("uint8")


def swap_rows(data, rows):
    table = data.reshape(rows, -1)
    table[[3, 5]] = table[[5, 3]]


def shift_minimum(data, rows):
    """The minimum of every Q4_1 block is one step higher: a zero point that is one smaller."""
    blocks = data.reshape(-1, 20)
    heads = blocks[:, :4].copy().view("float16")
    heads[:, 1] += heads[:, 0]
    blocks[:, :4] = heads.view("uint8")


MUTANTS = {"group zeroed": ("q4_0", zero_block), "zero points off by one": ("q4_0", shift_zero), "minima off by one": ("q4_1", shift_minimum),
           "rows swapped": ("q4_0", swap_rows)}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant(mutant, files, forward_dump, windows, tiny_llama, tmp_path):
    import gguf

    kind, change = MUTANTS[mutant]
    path, dense = files(kind)
    bad = tmp_path / path.name
    shutil.copy(path, bad)
    reader = gguf.GGUFReader(bad, "r+")
    tensor = next(t for t in reader.tensors if t.name == "blk.0.ffn_down.weight")
    before = tensor.data.copy()
    change(tensor.data, int(tensor.shape[1]))
    assert (before != tensor.data).any(), "the mutant changes nothing"
    tensor.data.flush()
    name = "model.layers.0.mlp.down_proj.weight"
    assert not torch.equal(gguf_weights(bad)[name], dense_weights(dense)[name])
    ours = our_logits(forward_dump, dense, windows[:1])
    assert mean_kl(ours, logits(load_gguf(bad), windows[:1])) > LIMIT
    rounded = our_logits(forward_dump, dense, windows[:1], "q8_0")[0]
    assert llama_cpp_kl(bad, rounded, windows[0], AutoTokenizer.from_pretrained(tiny_llama)) > LIMIT_ROUNDED
