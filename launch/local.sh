#!/usr/bin/env bash
# Runs mpiquant on the ranks of one machine with mpirun.
#
# usage: launch/local.sh [--ranks N] [--threads T] [--bind cores|numa|gpu|none] COMMAND [ARGUMENTS]
#        launch/local.sh --ranks 4 quantize MODEL --output DIR --format gptq
#
#   --ranks N      processes (default: one for each GPU, else one for each NUMA node)
#   --threads T    threads of each rank (default: its share of the cores)
#   --bind WHAT    cores: each rank gets T cores of its own, neighbours first; numa: each rank may use one NUMA node;
#                  gpu: the program itself binds each rank to the processors beside its GPU; none: the system decides
#                  (default: gpu where there are GPUs, else cores where ranks × threads fit, else none)
#
# MPIQUANT_BIN names another program than build/bin/mpiquant. Returns the program's exit code (0 to 6, 75); a death by signal and
# any other code become 6 (the environment failed, can be resumed). SIGTERM and SIGUSR2 reach the ranks as SIGUSR2, which asks
# them to stop where they can be resumed; mpirun itself would take SIGTERM for an abort.
set -uo pipefail

usage_error() {
  echo "local.sh: $1" >&2
  exit 2
}
is_number() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]]; }

numa_nodes=$(lscpu -p=NODE 2>/dev/null | grep -v '^#' | sort -u | wc -l)
cores=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l)
allowed=$(nproc)
if [ "$cores" -lt 1 ] || [ "$cores" -gt "$allowed" ]; then cores=$allowed; fi
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then gpus=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -cE '^[0-9A-Z]'); fi
ranks=$((gpus > 0 ? gpus : numa_nodes > 0 ? numa_nodes : 1))
threads=
bind=
while [ $# -gt 0 ]; do
  case $1 in
    --ranks | --threads)
      is_number "${2:-}" || usage_error "$1 needs a number of 1 or more"
      if [ "$1" = --ranks ]; then ranks=$2; else threads=$2; fi
      shift 2
      ;;
    --bind)
      case ${2:-} in
        cores | numa | gpu | none) bind=$2 ;;
        *) usage_error "--bind takes cores, numa, gpu or none" ;;
      esac
      shift 2
      ;;
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || usage_error "no command given (see --help)"

program=${MPIQUANT_BIN:-$(cd "$(dirname "$0")/.." && pwd)/build/bin/mpiquant}
[ -x "$program" ] || usage_error "$program is not there (build the program, or name it in MPIQUANT_BIN)"
command -v mpirun >/dev/null || usage_error "mpirun was not found (install Open MPI, or run the program by itself as one rank)"

if [ -z "$threads" ]; then threads=$((cores / ranks > 0 ? cores / ranks : 1)); fi
if [ -z "$bind" ]; then
  if [ "$gpus" -gt 0 ]; then bind=gpu; elif [ $((ranks * threads)) -le "$cores" ]; then bind=cores; else bind=none; fi
fi
options=(-n "$ranks")
case $bind in
  cores) options+=(--map-by "slot:PE=$threads" --bind-to core) ;;
  numa) options+=(--map-by numa --bind-to numa --oversubscribe) ;;
  gpu | none) options+=(--bind-to none --oversubscribe) ;;
esac
if [ "$(id -u)" -eq 0 ]; then options+=(--allow-run-as-root); fi
export OMP_NUM_THREADS=$threads

mpirun "${options[@]}" "$program" "$@" <&0 &
launcher=$!
# Open MPI 4.1's mpirun can hang in its own end after ranks that left with an error (a lock of PMIx 4.2): without ranks it has nothing
# left to do.
(
  ranks_seen='' idle=0
  while sleep 1 && kill -0 "$launcher" 2>/dev/null; do
    if pgrep -P "$launcher" >/dev/null; then ranks_seen=yes idle=0; elif [ -n "$ranks_seen" ]; then idle=$((idle + 1)); fi
    [ "$idle" -lt 10 ] || kill -KILL "$launcher"
  done
) >/dev/null 2>&1 &
watch=$!
signalled=
trap 'signalled=yes; kill -USR2 "$launcher" 2>/dev/null' TERM USR2
# A signal ends the wait early, with a code of its own.
while :; do
  signalled=
  wait "$launcher"
  code=$?
  [ -n "$signalled" ] || break
done
kill "$watch" 2>/dev/null

case $code in
  [0-6] | 75) exit "$code" ;;
esac
echo "local.sh: the job ended with code $code (a rank was killed, or the launcher failed); it can be resumed by the same command" >&2
exit 6
