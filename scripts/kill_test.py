#!/usr/bin/env python3
"""Kills a run again and again and checks that it always ends with the same bytes.

Each trial starts the main job on the bundled model with a random number of ranks, kills one random rank (SIGKILL) when it is in a
random phase, and starts the same command again with another number of ranks. After the kill nothing may stand under the final name
(unless the kill came after the rename: then the output must be whole); after the second start the output's sums must be those of an
undisturbed run, and the second start must have quantized no committed layer again.

usage: scripts/kill_test.py PROGRAM FOLDER [--trials N] [--seed S]      exit code 1 at the first violation
"""

import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
MODEL = "tests/models/tiny-llama"
PHASES = ["read", "forward", "hessian", "reduce", "factor", "sweep", "write", "checkpoint", "commit", "publish", "rename"]
FORMATS = ["gptq", "gguf-q4_0"]
SETTLE_SECONDS = 30  # in which a job whose rank died must have ended


def command(program, ranks, output):
    return [*MPIRUN, "-n", str(ranks), program, "quantize", MODEL, "--bits", "4", "--group-size", "32", "--nsamples", "16",
            "--seqlen", "64", "--unit-samples", "2", "--format", "gptq,gguf:q4_0", "--threads", "1", "--verbose",
            "--calibration", "configs/calibration/corpus-calibration.txt", "--output", str(output)]


def sums(output):
    return {name: (output / name / "SHA256SUMS").read_text() for name in FORMATS}


def violation(text):
    sys.exit(f"kill_test.py: {text}")


def check_whole(output):
    for name in FORMATS:
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=output / name, check=True)


def rank_processes(program, output):
    """Process id of each rank of the run with this output, by rank."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "exe").resolve() != pathlib.Path(program).resolve():
                continue
            if str(output).encode() not in (entry / "cmdline").read_bytes().split(b"\0"):
                continue
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in environment:
            if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
                found[int(variable.split(b"=")[1])] = int(entry.name)
    return found


def start_and_kill(program, ranks, output, phase, occurrence, delay, log):
    """Kills a rank that is in `phase` for the occurrence-th time. Returns the phase it was last seen in, or None if the run ended; and whether
    the rename had begun."""
    victim = random.randrange(ranks)
    job = subprocess.Popen(command(program, ranks, output), stderr=subprocess.PIPE, text=True)
    seen, last = 0, "start"
    killed = None
    lines = []
    for line in job.stderr:
        lines.append(line)
        match = re.search(r"rank (\d+): phase (\w+)", line)
        if not match or int(match[1]) != victim:
            continue
        last = match[2]  # it goes on until the signal is there
        seen += last == phase
        if not killed and last == phase and seen == occurrence:
            time.sleep(delay)
            process = rank_processes(program, output).get(victim)
            if process:
                try:
                    os.kill(process, signal.SIGKILL)
                    killed = time.monotonic()
                except ProcessLookupError:
                    pass
    code = job.wait()
    log.write_text("".join(lines))
    if killed is None:
        if code != 0:
            violation(f"a run without a kill ended with code {code}; see {log}")
        return None, True
    if time.monotonic() - killed > SETTLE_SECONDS:
        violation(f"the job lived on for {time.monotonic() - killed:.0f} s after the death of a rank")
    return last, any("rank 0: phase rename" in line for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    folder = arguments.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "log"
    reference = folder / "reference"
    subprocess.run(command(arguments.program, 1, reference), check=True, stderr=subprocess.DEVNULL)
    expected = sums(reference)
    layers = json.loads(pathlib.Path(MODEL, "config.json").read_text())["num_hidden_layers"]

    histogram = collections.Counter()
    trial = 0
    while trial < arguments.trials:
        output = folder / "output"
        work = folder / "output.work"
        for path in folder.glob("*output*"):
            shutil.rmtree(path)
        phase = PHASES[trial] if trial < len(PHASES) else min(PHASES, key=lambda name: histogram[name])
        occurrence = 1 if phase in ("publish", "rename") else random.randint(1, 2 * layers)
        first, second = random.sample([1, 2, 3, 4], 2)
        where, renaming = start_and_kill(arguments.program, first, output, phase, occurrence, random.random() * 0.01, log)
        if where is None:
            continue  # the phase did not come so often on that rank
        trial += 1
        histogram[where] += 1
        if output.exists():
            if not renaming:
                violation(f"an output stands under its final name after a kill in phase {where}")
            check_whole(output)
            if sums(output) != expected:
                violation(f"the bytes differ after a kill in phase {where}")
            continue
        committed = len(list(work.glob("checkpoint/layer-*.json")))
        again = subprocess.run(command(arguments.program, second, output), stderr=subprocess.PIPE, text=True)
        if again.returncode != 0:
            log.write_text(again.stderr)
            violation(f"the second start on {second} ranks ended with code {again.returncode} after a kill in phase {where}; see {log}")
        if sums(output) != expected:
            violation(f"the bytes differ after a kill in phase {where}, {first} ranks, then {second}")
        check_whole(output)
        if list(folder.glob(".output.partial-*")) or (work / "checkpoint").exists():
            violation("state was left behind")
        for rank in json.loads((work / "report.json").read_text())["ranks"]:
            if rank["layers_committed"] != layers - committed:
                violation(f"{rank['layers_committed']} layers were quantized, and {committed} of {layers} were committed")
        print(f"{trial}: {first} ranks, killed in {where} with {committed} layers committed, {second} ranks: same bytes", flush=True)
    print("kills by phase: " + ", ".join(f"{phase} {count}" for phase, count in sorted(histogram.items())))
    shutil.rmtree(folder)


main()
