"""What the suites share: where the programs are, the bundled model and text, and outputs of the program, each made once."""
import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.register_assert_rewrite("checks", "readers")
ROOT = Path(__file__).resolve().parents[2]

# Readers must not reach for the network, nor compile kernels of their own.
os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", TOKENIZERS_PARALLELISM="false", TORCHDYNAMO_DISABLE="1")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # GPTQModel refuses to start on machines with one or two cores without it


def program_path(variable, name):
    path = Path(os.environ.get(variable, ROOT / "build" / "bin" / name))
    if not path.exists():
        pytest.exit(f"{path} is not there: build it (scripts/test.sh does), or set {variable}", returncode=2)
    return path


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def tiny_llama():
    return ROOT / "tests" / "models" / "tiny-llama"


@pytest.fixture(scope="session")
def calibration_text():
    return ROOT / "configs" / "calibration" / "corpus-calibration.txt"


@pytest.fixture(scope="session")
def windows(tiny_llama):
    """[4, 256] token ids of the evaluation text."""
    import torch
    from transformers import AutoTokenizer

    text = (ROOT / "configs" / "calibration" / "corpus-evaluation.txt").read_text(encoding="utf-8")
    ids = AutoTokenizer.from_pretrained(tiny_llama)(text, add_special_tokens=False)["input_ids"]
    return torch.tensor(ids[: 4 * 256]).view(4, 256)


@pytest.fixture(scope="session")
def forward_dump(tmp_path_factory):
    """forward_dump(model, ids, activations) -> {"hidden.<i>": [T, H], "logits": [T, V]}, computed by the program in fp32; activations: "float", or
    "q8_0" for those of the layers' linears rounded as llama.cpp does."""
    from safetensors.torch import load_file

    program, folder = program_path("MQ_FORWARD_DUMP", "mq_forward_dump"), tmp_path_factory.mktemp("forward")

    def dump(model, ids, activations="float"):
        (folder / "ids.json").write_text(json.dumps([int(i) for i in ids]))
        run(program, model, folder / "ids.json", folder / "out.safetensors", activations)
        return {k: t.clone() for k, t in load_file(folder / "out.safetensors").items()}  # the file is mapped, and the next call writes it anew

    return dump


@pytest.fixture(scope="session")
def quantized(tiny_llama, calibration_text, tmp_path_factory):
    """quantized("--bits", "4", …, formats=["gptq", "dense:gptq"]) -> the folder of each output; equal requests are made once."""
    program, made = program_path("MPIQUANT_BIN", "mpiquant"), {}

    def make(*options, formats):
        key = (options, tuple(formats))
        if key not in made:
            out = tmp_path_factory.mktemp("quantized") / "out"
            run(program, "quantize", tiny_llama, "--calibration", calibration_text, "--nsamples", "16", "--seqlen", "256", "--dense-dtype", "float32",
                *options, "--format", ",".join(formats), "--output", out)
            # One format goes to the folder itself, several to a folder each.
            made[key] = {f: out if len(formats) == 1 else out / f.replace(":", "-") for f in formats}
        return made[key]

    return make
