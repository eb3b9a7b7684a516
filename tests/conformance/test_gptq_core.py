"""The column sweep against the plain fp64 GPTQ of reference_gptq.py for every combination of bits, symmetry, group, order and search, on
real and random Hessians: at least 99 % of the codes equal, losses within 0.1 %. The C++ test that compares holds the mutant."""
import os
import subprocess
import sys

from conftest import ROOT, program_path, run


def test_every_setting(tiny_llama, calibration_text, tmp_path):
    reference = tmp_path / "reference.safetensors"
    run(sys.executable, ROOT / "tests" / "quant" / "make_reference.py", tiny_llama, calibration_text, reference, "--full", "--rows", "64")
    program = program_path("MQ_TEST_GPTQ_REFERENCE", "test_gptq_reference")
    done = subprocess.run([program], env=dict(os.environ, MPIQUANT_GPTQ_REFERENCE=str(reference)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
