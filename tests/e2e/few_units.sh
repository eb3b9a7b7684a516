#!/usr/bin/env bash
# few_units.sh PROGRAM FOLDER: formats, grids and orders that same_bytes.sh leaves out, with more ranks than calibration units and layers;
# and on four ranks with 24 units none has much more work than the others, and Hessians on the wire are those of the plan.
set -euo pipefail
program=$1 folder=$2
model=tests/models/tiny-llama
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
rm -rf "${folder:?}"
mkdir -p "$folder"
fail() { echo "FAIL $*"; exit 1; }
quantize=(quantize "$model" --calibration configs/calibration/corpus-calibration.txt --seqlen 64 --unit-samples 1 --quiet)
same() {  # NAME OPTIONS...: the same bytes on any ranks
  local name=$1 ranks
  shift
  "$program" "${quantize[@]}" --nsamples 3 "$@" --threads 2 --output "$folder/$name" || fail "$name"
  for ranks in 2 3 4 8; do
    "${mpirun[@]}" -n "$ranks" "$program" "${quantize[@]}" --nsamples 3 "$@" --threads 1 --output "$folder/$name-$ranks" || fail "$name on $ranks ranks"
    cmp "$folder/$name-$ranks/SHA256SUMS" "$folder/$name/SHA256SUMS" || fail "$name: other bytes on $ranks ranks"
  done
}
same zero_points --group-size 32 --no-sym --lm-head --format compressed-tensors
same dynamic --group-size 64 --bits 3 --act-order dynamic --mse --no-true-sequential --format gptq
if cmp -s <(grep safetensors "$folder/dynamic/SHA256SUMS") <(grep safetensors "$folder/zero_points/SHA256SUMS"); then fail "the cases are one"; fi

"${mpirun[@]}" -n 4 "$program" "${quantize[@]}" --nsamples 24 --group-size 64 --threads 1 --format gptq --output "$folder/balance"
python3 - "$folder/balance.work/report.json" <<'PYTHON' || fail "the work of the ranks"
import json, sys

report = json.load(open(sys.argv[1]))
for field in ("tokens", "rows_swept", "bytes_read", "bytes_written"):
    values = [rank[field] for rank in report["ranks"]]
    assert len(values) == 4 and max(values) <= 1.5 * sum(values) / 4, (field, values)
for rank, plan in zip(report["ranks"], report["plan"]):
    assert plan["hessian_bytes"] > 0 and rank["hessian_bytes"] == plan["hessian_bytes"], (rank, plan)
PYTHON
echo "the same bytes with few units, and shared work"
