"""Speed on CPUs: paired measurements, printed as Markdown tables and written as JSON.

cpu.py --program build/bin/mpiquant --work FOLDER [--only products,calibrated,ranks,rtn,kl] …

Runs that are compared alternate, and the best of each counts: other work on a machine only takes time away. Put --work on a tmpfs to
leave the disk out.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = ("products", "calibrated", "ranks", "rtn", "kl")
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="mpiquant")
    parser.add_argument("--gemm", help="bench_gemm, by default beside the program")
    parser.add_argument("--work", required=True, type=Path, help="folder for models and outputs; what it makes there is removed")
    parser.add_argument("--model", help="SmolLM2-135M, for all but rtn")
    parser.add_argument("--calibration", help="text for 64 samples of 512 tokens")
    parser.add_argument("--text", help="text for the KL divergence")
    parser.add_argument("--llama-quantize", help="llama.cpp's program, for rtn")
    parser.add_argument("--gigabytes", default="1.3", help="of the model for rtn")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    given = parser.parse_args()
    given.parts = given.only.split(",")
    for part in given.parts:
        if part not in PARTS:
            parser.error(f"--only {part} is unknown (known: {', '.join(PARTS)})")
    given.gemm = given.gemm or str(Path(given.program).parent / "bench_gemm")
    return given


def run(command: list[str], threads: int | None = None) -> dict[str, float]:
    """Wall and CPU seconds of a command and what it started."""
    environment = dict(os.environ)
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "stdout": done.stdout}


def quantize(given: argparse.Namespace, name: str, ranks: int, threads: int, arguments: list[str], keep: bool = False) -> dict:
    out = given.work / name
    for path in (out, Path(f"{out}.work")):
        shutil.rmtree(path, ignore_errors=True)
    launcher = [*MPIRUN, "-n", str(ranks)] if ranks > 1 else []
    result = run([*launcher, given.program, "quantize", *arguments, "--threads", str(threads), "--output", str(out), "--quiet"])
    result["report"] = json.loads(Path(f"{out}.work/report.json").read_text())
    if not keep:
        shutil.rmtree(out)
    shutil.rmtree(f"{out}.work")
    return result


def calibrated(given: argparse.Namespace, compute: str, ranks: int, threads: int, keep: bool = False) -> dict:
    arguments = [given.model, "--group-size", "64", "--calibration", given.calibration, "--nsamples", "64", "--seqlen", "512"]
    return quantize(given, f"bench-{compute}", ranks, threads, [*arguments, "--format", "gptq", "--compute", compute], keep)


def table(title: str, head: list[str], rows: list[list[object]]) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    sys.stdout.flush()


def flop(model: str, tokens: int) -> float:
    """Of one forward pass of the linears and one triangle of each Hessian."""
    config = json.loads((Path(model) / "config.json").read_text())
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    q, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    forward = 2 * (hidden * (2 * q + 2 * kv) + 3 * hidden * wide)
    hessians = 2 * hidden * hidden + q * q + wide * wide
    return tokens * config["num_hidden_layers"] * float(forward + hessians)


def products(given: argparse.Namespace) -> dict:
    rates = json.loads(run([given.gemm, "2"])["stdout"])
    table("Products alone, GFLOP/s a core", ["type", "two threads at once"], [[t, rates[t]] for t in ("f32", "bf16") if t in rates])
    return rates


def best(runs: list[dict], field: str = "wall") -> dict:
    return min(runs, key=lambda one: one[field])


def compare_types(given: argparse.Namespace, rates: dict) -> dict:
    types = [t for t in ("f32", "bf16") if t in rates]
    runs: dict[str, list[dict]] = {t: [] for t in types}
    for _ in range(given.repeat):
        for compute in types:
            runs[compute].append(calibrated(given, compute, 2, 1))
    work = flop(given.model, 64 * 512)
    rows = []
    for compute in types:
        one, bound = best(runs[compute]), work / 2 / rates[compute] * 1e-9
        rows.append([compute, one["wall"], best(runs[compute], "cpu")["cpu"], bound, one["wall"] / bound])
    table("64 x 512 tokens, 4 bits, groups of 64, 2 ranks x 1 thread", ["type", "seconds", "CPU seconds", "bound", "of the bound"], rows)
    return {t: {"wall": best(runs[t])["wall"], "cpu": best(runs[t], "cpu")["cpu"]} for t in types}


def compare_ranks(given: argparse.Namespace) -> dict:
    shapes = [(1, 1), (1, 2), (2, 1), (4, 1)]
    runs: dict[tuple[int, int], list[dict]] = {shape: [] for shape in shapes}
    for _ in range(given.repeat):
        for shape in shapes:
            runs[shape].append(calibrated(given, "f32", *shape))
    phases: list[str] = []
    for shape in shapes:
        for rank in best(runs[shape])["report"]["ranks"]:
            phases += [phase for phase in rank["seconds"] if phase not in phases]
    rows = []
    for ranks, threads in shapes:
        one = best(runs[ranks, threads])
        mean = [sum(r["seconds"].get(p, 0.0) for r in one["report"]["ranks"]) / ranks for p in phases]
        rows.append([f"{ranks} x {threads}", one["wall"], one["cpu"], *mean])
    table("Ranks x threads: seconds, and means over ranks by phase", ["ranks x threads", "seconds", "CPU seconds", *phases], rows)
    walls = {f"{ranks}x{threads}": best(runs[ranks, threads])["wall"] for ranks, threads in shapes}
    print(f"\n2 x 1 is {walls['1x2'] / walls['2x1']:.2f} of 1 x 2 and {walls['1x1'] / walls['2x1']:.2f} times 1 x 1.")
    return walls


def make_rtn_inputs(given: argparse.Namespace) -> tuple[Path, Path | None]:
    """A model, and the same as GGUF in BF16 for llama-quantize."""
    model = given.work / "bench-model"
    tiny = HERE.parent / "models" / "tiny-llama"
    if not (model / "model.safetensors").exists():
        run([sys.executable, str(HERE / "make_model.py"), str(model), str(tiny), given.gigabytes])
    if not given.llama_quantize:
        return model, None
    quantize(given, "bench-gguf", 1, 1, [str(model), "--method", "rtn", "--format", "gguf:bf16"], keep=True)
    return model, next((given.work / "bench-gguf").glob("*.gguf"))


def copying(source: Path, target: Path, write_bytes: int) -> float:
    """Seconds that two threads take to read a file once and to write so many bytes: no program that reads and writes takes less."""
    piece = 1 << 18
    read_bytes = source.stat().st_size

    def half(index: int) -> None:
        buffer = bytearray(piece)
        for at in range(index * piece, read_bytes, 2 * piece):
            os.preadv(into, [buffer], at)
        for at in range(index * piece, write_bytes, 2 * piece):
            os.pwrite(out, memoryview(buffer)[: write_bytes - at], at)

    into, out = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    start = time.monotonic()
    threads = [threading.Thread(target=half, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    os.close(into)
    os.close(out)
    target.unlink()
    return seconds


def round_to_nearest(given: argparse.Namespace) -> dict:
    model, source = make_rtn_inputs(given)
    weights = model / "model.safetensors"
    size = weights.stat().st_size
    rows, out = [], {}
    for kind in ("q8_0", "q4_0"):
        ours, theirs, bounds = [], [], []
        arguments = [str(model), "--method", "rtn", "--format", f"gguf:{kind}", "--embedding-type", kind, "--output-type", kind]
        for _ in range(given.repeat):
            ours.append(quantize(given, "bench-rtn", 1, 2, arguments))
            bounds.append(copying(weights, given.work / "bench-copy", ours[-1]["report"]["ranks"][0]["bytes_written"]))
            if source:
                target = given.work / "bench-llama.gguf"
                theirs.append(run([given.llama_quantize, "--pure", str(source), str(target), kind, "2"]))
                target.unlink()
        whole, cpu, bound = best(ours)["wall"], best(ours, "cpu")["cpu"], min(bounds)
        peak = max(one["report"]["ranks"][0]["peak_memory"] for one in ours)
        other = best(theirs)["wall"] if theirs else float("nan")
        other_cpu = best(theirs, "cpu")["cpu"] if theirs else float("nan")
        rows.append([kind, whole, cpu, other, other_cpu, other / whole, bound, peak // 2**20])
        out[kind] = {"wall": whole, "cpu": cpu, "llama-quantize": other, "its cpu": other_cpu, "copying": bound, "peak_memory": peak}
    head = ["type", "seconds, with sync and sums", "CPU seconds", "llama-quantize", "its CPU seconds", "times faster", "copying alone"]
    table(f"Round to nearest of {size / 1e9:.2f} GB, 1 rank x 2 threads", [*head, "peak MiB"], rows)
    return out


def divergence(given: argparse.Namespace) -> dict:
    made = {compute: calibrated(given, compute, 2, 1, keep=True) for compute in ("f32", "bf16")}
    head = ["type", "seconds", "CPU seconds"]
    table("Outputs compared below", head, [[compute, one["wall"], one["cpu"]] for compute, one in made.items()])
    score = [*MPIRUN, "-n", "2", given.program, "evaluate"]
    window = ["--text", given.text, "--window", "512", "--max-windows", "16", "--threads", "1", "--json", "--quiet"]
    rows, out = [], {}
    for name, model, reference in (("f32 from the original", "bench-f32", given.model), ("bf16 from the original", "bench-bf16", given.model),
                                   ("bf16 from f32", "bench-bf16", str(given.work / "bench-f32"))):
        text = run([*score, str(given.work / model), "--reference", reference, *window])["stdout"]
        one = json.loads(re.search(r"\{.*\}", text, re.S).group())
        rows.append([name, one["perplexity"], f"{one['kl_divergence']:.4f} ± {one['kl_standard_error']:.4f}", 100 * one["top1_agreement"]])
        out[name] = one
    table("What the compute type changes", ["outputs", "perplexity", "KL divergence", "same top token, %"], rows)
    for compute in ("f32", "bf16"):
        shutil.rmtree(given.work / f"bench-{compute}")
    return out


def main() -> None:
    given = options()
    given.work.mkdir(parents=True, exist_ok=True)
    out: dict[str, object] = {}
    if {"products", "calibrated"} & set(given.parts):
        out["products"] = products(given)
    if "calibrated" in given.parts:
        out["calibrated"] = compare_types(given, out["products"])
    if "ranks" in given.parts:
        out["ranks"] = compare_ranks(given)
    if "rtn" in given.parts:
        out["rtn"] = round_to_nearest(given)
    if "kl" in given.parts:
        out["kl"] = divergence(given)
    (given.work / "bench.json").write_text(json.dumps(out, indent=1) + "\n")
    for name in ("bench-model", "bench-gguf"):
        shutil.rmtree(given.work / name, ignore_errors=True)


main()
