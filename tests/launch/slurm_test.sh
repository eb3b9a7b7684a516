#!/usr/bin/env bash
# slurm/quantize.sbatch on a Slurm of four virtual nodes: exit codes, both launchers, a signal and the way back into the queue.
# usage: slurm_test.sh SOURCE_DIR MPI_TEST_PROGRAM       exit code 77: Slurm is not installed here
set -uo pipefail
source_dir=$1
mpi_test=$2
PATH=$PATH:/usr/sbin
for program in slurmctld slurmd munged; do
  command -v $program >/dev/null || {
    echo "SKIPPED: $program was not found; install the packages slurm-wlm and munge"
    exit 77
  }
done
folder=$(mktemp -d)
cluster=("$source_dir/scripts/dev-cluster.sh")
where=(--dir "$folder/c" --port $((20000 + $$ % 4000 * 10)))
trap '"${cluster[@]}" stop "${where[@]}" >/dev/null; rm -rf "$folder"' EXIT
"${cluster[@]}" start "${where[@]}" || exit 1
# shellcheck source=/dev/null
. "$folder/c/env"
export MPIQUANT_HOME=$source_dir MPIQUANT_BIN=$source_dir/tests/launch/stand_in.sh MPIQUANT_MAX_RESTARTS=0 MPIQUANT_MPIRUN_BIND=none
failures=0
cd "$folder" || exit 1

expect() { # WHAT WANTED GOT LOG
  [ "$2" = "$3" ] && return
  echo "FAILED: $1: wanted '$2', got '$3'"
  cat "$4"
  failures=$((failures + 1))
}
submit() { # LOG ARGUMENTS...
  local log=$1
  shift
  sbatch --parsable --nodes=4 --ntasks=4 --cpus-per-task=1 --output="$log" "$source_dir/slurm/quantize.sbatch" "$@"
}
field() { scontrol show job "$1" | sed -n "s/.*\b$2=\([^ ]*\).*/\1/p" | head -1; }
ended() { # JOB: waits, prints the exit code
  local state i
  for ((i = 0; i < 600; ++i)); do
    state=$(field "$1" JobState)
    case $state in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) break ;; esac
    sleep 0.2
  done
  field "$1" ExitCode | cut -d: -f1
}

for launcher in srun mpirun; do
  export MPIQUANT_LAUNCHER=$launcher
  for code in 0 3 75; do
    job=$(submit "log-$launcher-$code" exit $code)
    expect "$launcher, exit code $code" $code "$(ended "$job")" "log-$launcher-$code"
  done
  job=$(submit log-threads threads)
  expect "$launcher, threads" 0 "$(ended "$job")" log-threads
  expect "$launcher, ranks" 4 "$(grep -c 'threads 1$' log-threads)" log-threads
  rm log-threads

  # Stopped by a signal, it goes back into the queue once.
  job=$(MPIQUANT_MAX_RESTARTS=1 submit "log-$launcher-term" wait 60)
  for ((i = 0; i < 150; ++i)); do
    [ "$(grep -c waits "log-$launcher-term" 2>/dev/null)" != 4 ] || break
    sleep 0.2
  done
  scancel --signal=TERM --batch "$job"
  for ((i = 0; i < 150; ++i)); do
    [ "$(field "$job" Restarts)" != 1 ] || break
    sleep 0.2
  done
  expect "$launcher, requeued" 1 "$(field "$job" Restarts)" "log-$launcher-term"
  expect "$launcher, code 75 told" 1 "$(grep -c 'ended with code 75; back into the queue' "log-$launcher-term")" "log-$launcher-term"
  scancel "$job"
done

if [ -n "$mpi_test" ]; then
  srun --mpi=pmix -N4 -n4 "$mpi_test" >log-mpi 2>&1
  expect "MPI across nodes" 0 $? log-mpi
fi
[ $failures -eq 0 ]
