#!/usr/bin/env bash
# Checks the GPU backend on a machine with an NVIDIA GPU; every step ends within ten minutes and leaves its log under OUT.
# usage: scripts/gpu_check.sh STEP OUT [PROGRAMS]
#   build      builds the programs for this GPU (needs the packages of scripts/dependencies.sh --tests and a CUDA toolkit)
#   pack       builds for the H100 and H200 on a machine without GPU and puts programs and libraries into OUT/programs.tar.xz: give that file
#              as PROGRAMS on a GPU machine without those packages
#   tests      the tests labelled gpu, the ones with several ranks if there is an mpirun
#   sanitize   compute-sanitizer's memcheck, racecheck and initcheck on the kernels' tests
#   compare    tiny-llama on CPU and GPU: divergence from the original, the same bytes on 1, 2 and 4 ranks
#   kernels    rates of the kernels at the shapes of Llama-3-8B
#   model      a random model of Llama-3-8B's shape (LAYERS of it, default 32), 25 GB in SCRATCH
#   all        tests, sanitize, compare, kernels, model
# SCRATCH is a folder for models and outputs (default: a new one in TMPDIR). All logs are in OUT/logs.tar.gz, too.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
[ $# -ge 2 ] || { sed -n '2,15p' "$0" >&2; exit 2; }
step=$1 out=$2 programs=${3:-build-cuda/bin}
mkdir -p "$out" || exit 2
scratch=${SCRATCH:-$(mktemp -d)}
targets=(mpiquant test_gpu test_gpu_dist bench_gpu)
limit=590  # seconds of a step
export MPIQUANT_HOME=${MPIQUANT_HOME:-$PWD}
if [ -f "$programs" ]; then
  mkdir -p "$scratch/programs" && tar -xf "$programs" -C "$scratch/programs" || exit 2
  programs=$scratch/programs
fi
# Libraries of CUDA and NCCL are the machine's own: of the toolkit, or of Python's packages.
libraries=$programs/lib
packages=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>/dev/null)
for name in libcudart.so libcublasLt.so libcusolver.so libcusparse.so libnvJitLink.so libnccl.so; do
  ldconfig -p | grep -q "$name" && continue
  found=$(find -L /usr/local/cuda/lib64 "$packages/nvidia" -name "$name.*" -print -quit 2>/dev/null)
  [ -z "$found" ] || libraries=$libraries:$(dirname "$found")
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
failed=0

# run NAME COMMAND…: within the limit, its output in OUT/NAME.log
run() {
  local name=$1 start=$SECONDS status=0
  shift
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
  case $status in
    0) state=ok ;;
    77) state="SKIPPED: $(tail -n 1 "$out/$name.log")"; failed=1 ;;
    124) state="stopped after $limit s"; failed=1 ;;
    *) state="FAILED, code $status"; failed=1; tail -n 15 "$out/$name.log" ;;
  esac
  printf '%-24s %4d s  %s\n' "$name" $((SECONDS - start)) "$state" | tee -a "$out/summary.txt"
}
ranks() {  # N PROGRAM…: under mpirun
  local count=$1
  shift
  mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$count" -x LD_LIBRARY_PATH "$@"
}
export -f ranks

build() {  # architectures
  run configure cmake --preset cuda -DMPIQUANT_CUDA_ARCHITECTURES="$1"
  run build cmake --build --preset cuda --target "${targets[@]}"
}
pack() {
  build 90
  local folder=$scratch/pack
  mkdir -p "$folder/lib"
  for target in "${targets[@]}"; do cp "build-cuda/bin/$target" "$folder/" && strip "$folder/$target"; done
  # All libraries but those of C and C++, which every machine has, and of CUDA and NCCL, which a GPU machine has.
  ldd "${targets[@]/#/$folder/}" | awk '$3 ~ /^\// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s|ld-linux[^/]*)\.so|/lib(cuda|cublas|cusolver|cusparse|nvJitLink|cudart|nccl)' |
    xargs -I{} cp -L {} "$folder/lib/"
  run pack tar -C "$folder" -cJf "$out/programs.tar.xz" .
  ls -l "$out/programs.tar.xz"
}
tests() {
  run tests "$programs/test_gpu"
  run tests_1_rank "$programs/test_gpu_dist"
  if command -v mpirun >/dev/null; then
    for count in 2 4; do
      run "tests_${count}_ranks" bash -c "ranks $count '$programs/test_gpu_dist'"
    done
  else
    echo "tests with several ranks: no mpirun here, NOT RUN" | tee -a "$out/summary.txt"
  fi
}
sanitize() {
  local kernels='GpuSweep/*:GpuCodec/*:ForwardElements.*:GpuAttention/*:GpuHessian.StaysOnTheDevice:GpuFactor/*'
  for tool in memcheck racecheck initcheck; do
    run "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$programs/test_gpu" "--gtest_filter=Cases/GpuSweep*:$kernels:*GpuCodec*:*GpuAttention*:GpuSweepGroup.*"
  done
}
compare() {
  local model=tests/models/tiny-llama text=configs/calibration/corpus-calibration.txt test=configs/calibration/corpus-evaluation.txt
  local options=(--calibration "$text" --nsamples 64 --seqlen 256 --bits 3 --group-size 64 --force)
  for device in cpu cuda; do
    local compute=f32
    [ $device = cuda ] && compute=bf16
    run "quantize_$device" "$programs/mpiquant" quantize $model "${options[@]}" --device $device --compute $compute --output "$scratch/$device"
    run "evaluate_$device" "$programs/mpiquant" evaluate "$scratch/$device" --reference $model --text "$test" --window 256 --max-windows 96 --device cpu
    grep -h "KL divergence" "$out/evaluate_$device.log" | sed "s/^/$device  /" | tee -a "$out/summary.txt"
  done
  command -v mpirun >/dev/null || { echo "the same bytes on several ranks: no mpirun here, NOT RUN" | tee -a "$out/summary.txt"; return; }
  for count in 2 4; do
    run "quantize_${count}_ranks" bash -c "ranks $count '$programs/mpiquant' quantize $model ${options[*]} --device cuda --compute bf16 --reduce mpi --output '$scratch/ranks$count'"
    run "same_bytes_${count}_ranks" diff -r "$scratch/cuda" "$scratch/ranks$count"
  done
}
kernels() { run kernels "$programs/bench_gpu"; cat "$out/kernels.log"; }
model() {
  run model bash tests/bench/gpu_8b.sh "$programs/mpiquant" "$scratch/8b" --layers "${LAYERS:-32}"
  tail -n 20 "$out/model.log"
}

nvidia-smi >"$out/nvidia-smi.txt" 2>&1 || true
case $step in
  build) build "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)" ;;
  pack | tests | sanitize | compare | kernels | model) $step ;;
  all) tests; sanitize; compare; kernels; model ;;
  *) echo "gpu_check.sh: unknown step '$step'" >&2; exit 2 ;;
esac
mapfile -t logs < <(cd "$out" && ls -- *.log *.txt)
tar -C "$out" -czf "$out/logs.tar.gz" "${logs[@]}"
exit $failed
