#!/usr/bin/env bash
# How well plans predict: measures this machine (plan --calibrate), then runs six quantizations that the measurement has not seen, on two
# models, and prints planned and measured seconds and memory. Exit code 1 when one is off by more than 15 %, or when memory is not
# 75 to 100 % of its plan. Wants a machine with two cores and nothing else to do.
#   usage: tests/bench/plan_accuracy.sh MPIQUANT MODEL OTHER_MODEL TEXT
set -euo pipefail

[ $# -eq 4 ] || { echo "usage: $0 MPIQUANT MODEL OTHER_MODEL TEXT" >&2; exit 2; }
program=$1 model=$2 other=$3 text=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mpi=(mpirun --bind-to none --oversubscribe)
if [ "$(id -u)" -eq 0 ]; then mpi+=(--allow-run-as-root); fi

# Ranks and threads that a run has are those its machine is measured with.
for shape in "1 1" "1 2" "2 1"; do
  read -r ranks threads <<<"$shape"
  "${mpi[@]}" -n "$ranks" "$program" plan --calibrate "$work/machine-$ranks-$threads.yaml" --threads "$threads" -q
done

: >"$work/table"
run() {
  local name=$1 ranks=$2 threads=$3 of=$4
  shift 4
  local options=(--calibration "$text" --threads "$threads" "$@")
  "$program" plan "$of" --ranks "$ranks" --topology "$work/machine-$ranks-$threads.yaml" --json "${options[@]}" >"$work/plan.json"
  "${mpi[@]}" -n "$ranks" "$program" quantize "$of" --output "$work/out" -q "${options[@]}"
  python3 - "$name" "$work/plan.json" "$work/out.work/report.json" >>"$work/table" <<'PY'
import json, sys
name, plan, report = sys.argv[1], json.load(open(sys.argv[2])), json.load(open(sys.argv[3]))
seconds = report["seconds"]
share = max(rank["peak_memory"] / planned["memory"] for rank, planned in zip(report["ranks"], plan["ranks"]))
least = min(rank["peak_memory"] / planned["memory"] for rank, planned in zip(report["ranks"], plan["ranks"]))
off = plan["seconds"] / seconds - 1
good = abs(off) <= 0.15 and 0.75 <= least and share <= 1
print(f"{name:<44} {plan['seconds']:8.1f} {seconds:9.1f} {100 * off:+7.1f} % {100 * least:6.0f}..{100 * share:.0f} % {'' if good else 'MISSED'}")
PY
  rm -rf "$work/out" "$work/out.work"
}

run "model, 1 rank × 2 threads" 1 2 "$model" --group-size 64 --nsamples 32 --seqlen 512
run "model, 2 ranks × 1 thread" 2 1 "$model" --group-size 64 --nsamples 64 --seqlen 512
run "model, 1 rank × 1 thread, range search" 1 1 "$model" --group-size 64 --nsamples 16 --seqlen 256 --mse
run "model, whole layers at once, two outputs" 1 2 "$model" --group-size 64 --nsamples 16 --seqlen 512 --no-true-sequential --format gptq,gguf:q8_0
run "other model, 1 rank × 2 threads" 1 2 "$other" --group-size 64 --nsamples 128 --seqlen 512
run "other model, 2 stages of 1 rank" 2 1 "$other" --group-size 64 --nsamples 128 --seqlen 512 --schedule staged --stages 2

printf '%-44s %8s %9s %9s %14s\n' run planned measured off "memory of plan"
cat "$work/table"
! grep -q MISSED "$work/table"
