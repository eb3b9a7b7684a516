#!/usr/bin/env bash
# Builds the program and runs all tests: unit, distributed, end to end (CTest), and conformance with other people's readers (pytest).
# usage: scripts/test.sh [--no-conformance]
set -euo pipefail
cd "$(dirname "$0")/.."
conformance=yes
for argument in "$@"; do
  case $argument in
    --no-conformance) conformance=no ;;
    *) echo "test.sh: unknown argument '$argument'" >&2; exit 2 ;;
  esac
done
part() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

part "packages"
scripts/dependencies.sh --tests
if [ $conformance = yes ]; then  # mostly downloads: beside the build
  readers=$(mktemp)
  trap 'kill "$environment" 2>/dev/null || true; rm -f "$readers"' EXIT  # a failing last command of a trap would be the script's end
  scripts/venv.sh conformance >"$readers" 2>&1 &
  environment=$!
fi
part "build"
cmake --preset cpu
cmake --build --preset cpu
part "unit, distributed and end to end tests"
# A real Slurm may be late on a busy machine: if none but its tests failed, they are run once more, alone. Everything else must pass at once.
failed=build/Testing/Temporary/LastTestsFailed.log
rm -f $failed
ctest --preset cpu -j "$(nproc)" || {
  [ -s $failed ] && ! grep -qv ':launch\.slurm' $failed || exit 1
  part "once more, what failed"
  ctest --preset cpu --rerun-failed
}
if [ $conformance = yes ]; then
  part "reader environment"
  wait "$environment" || { cat "$readers"; exit 1; }
  part "conformance tests"
  # What the readers cache (compiled extensions, configurations) and leave behind stays in the clone.
  mkdir -p .venv/cache/tmp
  # Two files of tests at a time, each on one thread: more would not fit the memory of a small machine.
  env XDG_CACHE_HOME="$PWD/.venv/cache" TMPDIR="$PWD/.venv/cache/tmp" HF_HOME="$PWD/.venv/cache/huggingface" TORCH_EXTENSIONS_DIR="$PWD/.venv/cache/torch" \
    OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -rs -n 2 --dist loadfile --basetemp .venv/cache/pytest tests/conformance
fi
part "all tests passed"
