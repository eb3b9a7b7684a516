#!/usr/bin/env bash
# device_test.sh PROGRAM: what --device says where it cannot do what it is asked for, on two ranks, with its exit codes.
set -uo pipefail
program=$1 failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quantize=(quantize tests/models/tiny-llama --method rtn --output "$work/out" --quiet)

# refused NAME CODE PATTERN ARGUMENTS…
refused() {
  local name=$1 code=$2 pattern=$3 status=0 text
  shift 3
  text=$(mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$program" "${quantize[@]}" "$@" 2>&1) || status=$?
  if [ "$status" -ne "$code" ] || [ "$(grep -cE "mpiquant: error: .*$pattern" <<<"$text")" -ne 1 ] || [ -e "$work/out" ]; then
    echo "FAIL $name: exit code $status instead of $code, or not one line with \"$pattern\", or an output"; echo "$text"
    failures=$((failures + 1))
  else
    echo "ok   $name"
  fi
}
refused "Apple GPUs" 2 "Apple GPUs are not supported .*--device cpu" --device mps
refused "unknown device" 2 "known: auto, cpu, cuda" --device tpu
refused "unknown reduction" 2 "use nccl or mpi" --reduce tcp
refused "unknown sums" 2 "use int64 or f32" --hessian-sums f16
refused "unknown type of factors" 2 "use f32 or f64" --device cpu --factor-type bf16
refused "factors in fp32 on a CPU" 2 "needs a GPU" --device cpu --factor-type f32
refused "half on a CPU" 2 "needs a GPU" --device cpu --compute f16
export CUDA_VISIBLE_DEVICES=-1  # hides GPUs, where there are any
refused "no GPU" 6 "(no CUDA|no NVIDIA driver|no GPU is visible).*--device cpu" --device cuda
mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$program" "${quantize[@]}" --device cpu || { echo "FAIL --device cpu"; failures=$((failures + 1)); }
[ "$failures" -eq 0 ]
