#!/usr/bin/env bash
# slurm/quantize.sbatch on a Slurm of four virtual nodes: exit codes, both launchers, a signal and the way back into the queue.
# usage: slurm_test.sh SOURCE_DIR MPI_TEST_PROGRAM       exit code 77: Slurm is not installed here
set -uo pipefail
. "$1/tests/launch/slurm_lib.sh"
need_slurm
mpi_test=$2
start_cluster "$1"
export MPIQUANT_BIN=$source_dir/tests/launch/stand_in.sh

submit() { # LOG ARGUMENTS...
  local log=$1
  shift
  sbatch --parsable --nodes=4 --ntasks=4 --cpus-per-task=1 --output="$log" "$source_dir/slurm/quantize.sbatch" "$@"
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
  wait_in "log-$launcher-term" waits 4
  scancel --signal=TERM --batch "$job"
  for ((i = 0; i < 150; ++i)); do
    [ "$(field "$job" Restarts)" != 1 ] || break
    sleep 0.2
  done
  expect "$launcher, requeued" 1 "$(field "$job" Restarts)" "log-$launcher-term"
  expect "$launcher, code 75 told" 1 "$(grep -c 'ended with code 75; back into the queue' "log-$launcher-term")" "log-$launcher-term"
  scancel "$job"

  # Cancelled by a person, it does not.
  job=$(MPIQUANT_MAX_RESTARTS=1 submit "log-$launcher-cancel" wait 60)
  wait_in "log-$launcher-cancel" waits 4
  scancel "$job"
  ended "$job" >/dev/null
  sleep 1
  expect "$launcher, cancelled for good" CANCELLED "$(field "$job" JobState)" "log-$launcher-cancel"
  expect "$launcher, cancelled and not requeued" 0 "$(field "$job" Restarts)" "log-$launcher-cancel"
done

if [ -n "$mpi_test" ]; then
  srun --mpi=pmix -N4 -n4 "$mpi_test" >log-mpi 2>&1
  expect "MPI across nodes" 0 $? log-mpi
fi
[ $failures -eq 0 ]
