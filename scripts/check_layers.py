#!/usr/bin/env python3
"""Checks the layers: reads every `#include "..."` of the sources and fails on an arrow that the design does not allow.

base <- codec, comm <- kernels, io <- model, text, quant, plan <- run, fleet <- launch. In addition: `quant` knows neither ranks nor files, `plan`
needs no hardware, and only launch/ has a `main` or catches everything (threads hand every exception on, so they may too).

usage: check_layers.py [ROOT]
"""
import re
import sys
from pathlib import Path

BELOW_MODEL = {"base", "codec", "comm", "kernels", "io"}
ALLOWED = {
    "base": set(),
    "codec": {"base"},
    "comm": {"base"},
    "kernels": {"base", "codec", "comm"},
    "io": {"base", "codec", "comm"},
    "model": BELOW_MODEL,
    "text": BELOW_MODEL,
    "quant": {"base", "codec", "kernels"},
    "plan": {"base", "codec", "io", "model", "text", "quant"},
    "run": BELOW_MODEL | {"model", "text", "quant", "plan"},
    "fleet": {"base", "io", "plan"},
    "launch": BELOW_MODEL | {"model", "text", "quant", "plan", "run", "fleet"},
}
FORBIDDEN_FILES = {"plan": ("kernels/backend", "kernels/cpu/", "io/file", "io/hdf5", "io/safetensors", "io/gguf")}
CATCH_ALL = ("launch/", "src/base/threads.cc", "src/comm/thread_comm.cc")
FOLDERS = ("src", "io", "kernels", "launch")
SUFFIXES = (".h", ".cc", ".cu", ".cuh")

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
CATCH = re.compile(r"\bcatch\s*\(\s*\.\.\.\s*\)")
MAIN = re.compile(r"^\s*int\s+main\s*\(", re.M)


def layer(path):
    """The layer of a path relative to the root, or None outside the sources."""
    parts = path.split("/")
    if path.startswith("kernels/codec/") or path == "kernels/hd.h":
        return "codec"
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return parts[0] if parts[0] in ("io", "kernels", "launch") and len(parts) > 1 else None


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)


def problems(root):
    found, files = [], 0
    for path in sorted(p for folder in FOLDERS for p in (root / folder).rglob("*") if p.suffix in SUFFIXES):
        name, text = path.relative_to(root).as_posix(), without_comments(path.read_text(encoding="utf-8"))
        own, files = layer(name), files + 1
        if own not in ALLOWED:
            found.append(f"{name}: '{own}' is not a layer")
            continue
        for include in INCLUDE.findall(text):
            target = layer(include)
            if target is None or not (root / include).exists():
                found.append(f'{name}: includes "{include}", which is not a path from the root')
            elif target != own and target not in ALLOWED[own]:
                found.append(f'{name}: {own} must not know {target} ("{include}")')
            elif include.startswith(FORBIDDEN_FILES.get(own, ())):
                found.append(f'{name}: {own} must not know "{include}"')
        if CATCH.search(text) and not name.startswith(CATCH_ALL):
            found.append(f"{name}: catch (...) outside launch/")
        if MAIN.search(text) and own != "launch":
            found.append(f"{name}: a main outside launch/")
    if files == 0:
        found.append(f"{root}: no sources")
    return found


if __name__ == "__main__":
    lines = problems(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
    print("\n".join(lines) if lines else "layers: every include follows the design")
    sys.exit(1 if lines else 0)
