#!/usr/bin/env bash
# program.sh PROGRAM PROGRAM_WITH_NCCL FOLDER
# The whole program with GPUs that are on the host: the same bytes on any ranks, as good as the CPU, NCCL failing in the middle, GPUs that
# are too small, refusals.
set -uo pipefail
program=$1 with_nccl=$2 folder=$3
model=tests/models/tiny-llama
common=(--group-size 64 --calibration configs/calibration/corpus-calibration.txt --unit-samples 2 --quiet)  # a rank has one thread or more, as there are cores
options=("${common[@]}" --bits 4 --nsamples 8 --seqlen 32 --format "gptq,dense,gguf:q4_0")
gpu=(--device cuda --compute bf16)
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
export OPENBLAS_NUM_THREADS=1
rm -rf "$folder"
mkdir -p "$folder"

fail() { echo "FAILED: $*"; exit 1; }
sums() { (cd "$1" && cat ./*/SHA256SUMS); }
same() { diff <(sums "$folder/$1") <(sums "$folder/reference") >/dev/null || fail "$1 has other bytes"; echo "ok: $1 has the same bytes"; }
on_gpus() {  # RANKS NAME OPTIONS…: a GPU for each rank
  local ranks=$1 name=$2
  shift 2
  MPIQUANT_CUDA_HOST_DEVICES=$ranks "${mpirun[@]}" -n "$ranks" "$program" quantize $model "${options[@]}" "${gpu[@]}" --output "$folder/$name" "$@"
}
refused() {  # NAME CODE TEXT COMMAND…
  local name=$1 code=$2 wanted=$3 status=0
  shift 3
  "$@" >"$folder/log" 2>&1 || status=$?
  [ $status -eq "$code" ] || { cat "$folder/log"; fail "$name: exit code $status, not $code"; }
  grep -q "$wanted" "$folder/log" || { cat "$folder/log"; fail "$name: nothing says \"$wanted\""; }
  echo "ok: $name"
}

on_gpus 1 reference || fail "one rank"
for ranks in 2 4; do
  on_gpus $ranks "nccl-$ranks" || fail "$ranks ranks"
  same "nccl-$ranks"
done
MPIQUANT_CUDA_HOST_ORDER=early on_gpus 2 early || fail "steps at once"
same early
MPIQUANT_CUDA_HOST_DEVICES=1 "${mpirun[@]}" -n 3 "$program" quantize $model "${options[@]}" "${gpu[@]}" --reduce mpi --output "$folder/shared" ||
  fail "three ranks that share a GPU"
same shared
on_gpus 2 staged --schedule staged --stages 2 --propagate gptq || fail "two stages"
same staged

# As good as the CPU: at 2 bits the KL divergences from the original are within 2 % and what the measurement leaves open.
kl() {  # DEVICE: KL divergence and its standard error
  "$program" quantize $model "${common[@]}" --bits 2 --nsamples 16 --seqlen 64 --format dense --device "$1" --compute f32 --output "$folder/kl-$1" >&2 || return 1
  "$program" evaluate "$folder/kl-$1" --reference $model --text configs/calibration/corpus-evaluation.txt --window 128 --max-windows 32 --device cpu \
    --threads 2 --json --quiet | python3 -c 'import json, sys; r = json.load(sys.stdin); print(r["kl_divergence"], r["kl_standard_error"])'
}
# shellcheck disable=SC2046
python3 - $(kl cuda) $(kl cpu) <<'PY' || fail "the KL divergences differ"
import math, sys
gpu, gpu_error, cpu, cpu_error = map(float, sys.argv[1:])
print(f"KL divergence {gpu:.6f} ± {gpu_error:.6f}, of the CPU {cpu:.6f} ± {cpu_error:.6f}")
sys.exit(abs(gpu - cpu) > 0.02 * cpu + 2 * math.hypot(gpu_error, cpu_error))
PY

# NCCL fails on one rank in the middle: all ranks end with 6 at once, and the same command goes on.
start=$SECONDS
MPIQUANT_CUDA_HOST_NCCL_FAILS=1:30 refused "NCCL that fails" 6 "NCCL failed: unhandled system error" on_gpus 2 broken
[ $((SECONDS - start)) -lt 30 ] || fail "the ranks took $((SECONDS - start)) s to end"
[ ! -e "$folder/broken" ] || fail "a run that failed left something under the final name"
MPIQUANT_CUDA_HOST_NAME="another GPU" refused "going on with another GPU" 2 "kernel set differs" on_gpus 2 broken
on_gpus 2 broken || fail "going on after NCCL's failure"
same broken

# NCCL itself, where it finds no driver: one error for both ranks.
if ldconfig -p | grep -q "libcuda.so.1"; then
  echo "not run: NCCL without a driver (this machine has one)"
else
  refused "NCCL without a driver" 6 "ncclCommInitRankConfig failed" env MPIQUANT_CUDA_HOST_DEVICES=2 "${mpirun[@]}" -n 2 "$with_nccl" quantize $model \
    "${options[@]}" "${gpu[@]}" --output "$folder/driver"
  [ "$(grep -c "ncclCommInitRankConfig failed" "$folder/log")" -eq 1 ] || { cat "$folder/log"; fail "the error is not printed once"; }
fi

# GPUs with less memory than everything takes: a refusal with the numbers, and just above them hidden states that stay on the host.
small() {  # NAME MB
  MPIQUANT_CUDA_HOST_BYTES=$(($2 << 20)) "$program" quantize $model "${common[@]:0:6}" --threads 2 --bits 4 --nsamples 16 --seqlen 128 --format gptq \
    "${gpu[@]}" --output "$folder/$1"
}
refused "a GPU that is too small" 2 "of its 40 MB are free" small tiny 40
needed=$(grep -o "the work needs [0-9]* MB" "$folder/log" | grep -o "[0-9]*")
small large 1000 2>"$folder/log" || fail "a large GPU"
if grep -q "stay in the host's memory" "$folder/log"; then fail "states on the host though the GPU has room"; fi
small states $((needed + 3)) 2>"$folder/log" || { cat "$folder/log"; fail "a GPU with room for the work alone"; }
grep -q "stay in the host's memory" "$folder/log" || { cat "$folder/log"; fail "states did not stay on the host"; }
cmp "$folder/large/SHA256SUMS" "$folder/states/SHA256SUMS" || fail "states on the host change the bytes"
echo "ok: states on the host"

refused "more ranks than GPUs" 2 "GPU" env MPIQUANT_CUDA_HOST_DEVICES=1 "${mpirun[@]}" -n 2 "$program" quantize $model "${options[@]}" "${gpu[@]}" \
  --output "$folder/many"
refused "no GPU" 6 "no GPU is visible" env MPIQUANT_CUDA_HOST_DEVICES=0 "$program" quantize $model "${options[@]}" "${gpu[@]}" --output "$folder/none"
echo "all ok"
