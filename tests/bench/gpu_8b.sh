#!/usr/bin/env bash
# Quantizes a random model of Llama-3-8B's shape, made on the spot, to 4 bits in groups of 128, and prints the phases of the run.
# usage: gpu_8b.sh PROGRAM FOLDER [--shape small] [--layers N] [--samples N] [--length N] [-- OPTIONS of quantize]
# Needs 25 GB in FOLDER for all 32 layers. On a machine without GPU: --shape small --samples 4 --length 64 -- --device cpu
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
program=$1 folder=$2
shift 2
made=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do made+=("$1"); shift; done
[ $# -gt 0 ] && shift
options=("$@")
[ ${#options[@]} -gt 0 ] || options=(--device cuda --compute bf16)

python3 "$(dirname "$0")/gpu_8b_model.py" "$folder" "${made[@]}"
start=$(date +%s.%N)
"$program" quantize "$folder/model" --calibration-ids "$folder/ids.json" --bits 4 --group-size 128 --sym \
  --format gptq --ragged dense --force --output "$folder/out" "${options[@]}"
end=$(date +%s.%N)
python3 - "$folder/out.work/report.json" "$start" "$end" <<'EOF'
import json
import sys

report, start, end = json.load(open(sys.argv[1])), float(sys.argv[2]), float(sys.argv[3])
print(f"\nfrom start to end of the process {end - start:8.2f} s")
for rank, what in enumerate(report["ranks"]):
    for phase, seconds in sorted(what["seconds"].items(), key=lambda item: -item[1]):
        print(f"rank {rank}  {phase:<24} {seconds:8.2f} s")
EOF
