#!/usr/bin/env python3
"""Lets each file operation of a run fail once and checks what becomes of it.

Every pread, pwrite, fsync, rename and fallocate that a small run makes on its output, its state and its model is made to fail
in turn (the preloaded library tests/tools/faulty_io), with an error number or a short count. A failed run must end with exit code 6 and
name a file (3 where the model could not be read), leave nothing under the final name, and go on to the same bytes when it is started
again; short counts must change nothing at all.

usage: scripts/fault_test.py PROGRAM LIBRARY FOLDER [--at-most N] [--only CALL,…]      N: operations of each kind, evenly spread; default: all
"""

import argparse
import collections
import os
import pathlib
import shutil
import subprocess
import sys

MODEL = "tests/models/tiny-llama"
KINDS = {"pread": ["EIO", "short"], "pwrite": ["ENOSPC", "EIO", "EDQUOT", "short"], "fsync": ["EIO"],
         "rename": ["EIO"], "fallocate": ["ENOSPC"]}


def run(program, output, library=None, **fault):
    command = [program, "quantize", MODEL, "--bits", "4", "--group-size", "64", "--nsamples", "8", "--seqlen", "32", "--threads", "1",
               "--checkpoint-overhead", "1000", "--format", "gptq,gguf:q4_0", "--calibration", "configs/calibration/corpus-calibration.txt",
               "--output", str(output), "--quiet"]
    environment = dict(os.environ)
    if library:
        environment["LD_PRELOAD"] = str(library)
        environment.update({f"MPIQUANT_FAULT_{key.upper()}": str(value) for key, value in fault.items()})
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)


def sums(output):
    return {path.parent.name: path.read_text() for path in sorted(output.glob("*/SHA256SUMS"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("library")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--at-most", type=int, default=10**9)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(KINDS))
    arguments = parser.parse_args()
    folder = arguments.folder
    output = folder / "output"

    def fresh():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def violation(text, done=None):
        sys.exit(f"fault_test.py: {text}" + (f"\n{done.stderr}" if done else ""))

    fresh()
    if run(arguments.program, output).returncode != 0:
        violation("the undisturbed run failed")
    expected = sums(output)
    table = collections.Counter()
    for call in arguments.only:
        kinds = KINDS[call]
        paths = [str(folder.resolve())] + ([str(pathlib.Path(MODEL).resolve())] if call == "pread" else [])
        for path in paths:
            fresh()
            count_file = folder.parent / "fault-count"
            run(arguments.program, output, arguments.library, call=call, path=path, count=count_file)
            total = int(count_file.read_text())
            count_file.unlink()
            if total == 0:
                violation(f"the run makes no {call} below {path}")
            print(f"{call} below {path}: {total}", flush=True)
            step = max(1, total // arguments.at_most)
            for at in range(1, total + 1, step):
                for kind in kinds:
                    fresh()
                    what = f"{kind} at {call} {at} of {total}"
                    done = run(arguments.program, output, arguments.library, call=call, path=path, at=at, kind=kind)
                    table[call, kind, done.returncode] += 1
                    if kind == "short":
                        if done.returncode != 0 or sums(output) != expected:
                            violation(f"{what}: exit code {done.returncode}, or other bytes", done)
                        continue
                    if done.returncode == 0 and sums(output) == expected:
                        continue  # a call whose failure does not matter, as the reservation of space
                    if done.returncode not in ((3, 6) if call == "pread" else (6,)):
                        violation(f"{what}: exit code {done.returncode}", done)
                    if "/" not in done.stderr:
                        violation(f"{what}: the message names no file", done)
                    if output.exists() and sums(output) != expected:
                        violation(f"{what}: an output that is not whole stands under its final name", done)
                    if output.exists():
                        continue
                    again = run(arguments.program, output)
                    if again.returncode != 0 or sums(output) != expected:
                        violation(f"{what}: the second start ended with code {again.returncode}, or other bytes", again)
                    if [path for path in folder.iterdir() if path.name.startswith(".")]:
                        violation(f"{what}: something was left behind")
    for (call, kind, code), count in sorted(table.items()):
        print(f"{call:10} {kind:7} exit code {code}: {count}")
    shutil.rmtree(folder)


main()
