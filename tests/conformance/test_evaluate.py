"""`mpiquant evaluate` against the perplexity that Transformers computed of the bundled models (reference.json beside each)."""
import json

import pytest

from conftest import ROOT, program_path, run

MODELS = ["tiny-llama", "tiny-llama3", "tiny-mistral"]
TOLERANCE = 5e-5


def evaluate(ranks, model, *more):
    launch = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", ranks] if ranks > 1 else []
    return json.loads(run(*launch, program_path("MPIQUANT_BIN", "mpiquant"), "evaluate", model, "--text",
                          ROOT / "configs" / "calibration" / "corpus-evaluation.txt", "--window", 256, "--threads", 1, "--quiet", "--json", *more))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ranks", [1, 3])
def test_perplexity(name, ranks):
    model = ROOT / "tests" / "models" / name
    reference = json.loads((model / "reference.json").read_text())
    assert reference["window"] == 256
    ours = evaluate(ranks, model, "--max-windows", reference["windows"])
    assert ours["tokens"] == reference["tokens"]
    assert ours["perplexity"] == pytest.approx(reference["perplexity"], rel=TOLERANCE)


def test_mutant():
    """One window less is told apart."""
    model = ROOT / "tests" / "models" / "tiny-llama"
    reference = json.loads((model / "reference.json").read_text())
    assert evaluate(1, model, "--max-windows", reference["windows"] - 1)["perplexity"] != pytest.approx(reference["perplexity"], rel=TOLERANCE)
