#!/usr/bin/env bash
# From a fresh clone to a quantized model: installs what is missing (apt packages), builds, and runs the main job on the bundled model
# with two MPI ranks. Nothing is touched outside the clone but the packages.
# usage: scripts/quickstart.sh      the outputs go to out/quickstart
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }
quiet() { "$@" >"$log" 2>&1 || { cat "$log" >&2; echo "quickstart.sh: failed: $*" >&2; exit 1; }; }

step "packages"
scripts/dependencies.sh

step "build"
mkdir -p build
log=build/quickstart.log
quiet cmake --preset cpu
grep -h "GPU" "$log" || true
cmake --build --preset cpu --target mpiquant

program=build/bin/mpiquant
model=tests/models/tiny-llama
texts=configs/calibration
out=out/quickstart
rows=build/quickstart.tsv
ranks() { mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$program" "$@"; }

quantize() {  # folder, formats, options
  local folder=$1 formats=$2
  shift 2
  ranks quantize "$model" --calibration "$texts/corpus-calibration.txt" --nsamples 64 --seqlen 256 --force --output "$out/$folder" --format "$formats" "$@"
}
evaluate() {  # method, bits, model or output: a line of the table
  printf '%s\t%s\t%s\t' "$1" "$2" "$3" >>"$rows"
  ranks evaluate "$3" --text "$texts/corpus-evaluation.txt" --window 256 --max-windows 96 --reference "$model" --json >>"$rows"
}

mkdir -p "$out"
for method in gptq rtn; do
  step "$method at 4 bits: GPTQ repository, compressed-tensors repository, GGUF file"
  quantize "$method-4bit" gptq,compressed-tensors,gguf:q4_0 --method "$method" --bits 4 --group-size 128 --sym
  step "$method at 2 bits: GPTQ repository, compressed-tensors repository (no GGUF type has this grid)"
  quantize "$method-2bit" gptq,compressed-tensors --method "$method" --bits 2 --group-size 32 --no-sym
done

step "perplexity, and KL divergence from the original"
: >"$rows"
evaluate original 16 "$model"
for bits in 4 2; do
  for method in rtn gptq; do
    for output in "$out/$method-${bits}bit"/*; do evaluate "$method" "$bits" "$output"; done
  done
done
python3 scripts/quickstart_table.py "$model" "$rows"
step "done; the outputs are in $out"
