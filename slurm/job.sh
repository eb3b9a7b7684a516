# shellcheck shell=bash
# Functions of the batch scripts beside it; they are sourced from the clone, as Slurm runs a copy of the script itself.
#
# From the environment, or from slurm/clusters/$MPIQUANT_CLUSTER.env:
#   MPIQUANT_HOME          the clone (default: the folder of the submission)
#   MPIQUANT_BIN           the program (default: $MPIQUANT_HOME/build/bin/mpiquant)
#   MPIQUANT_LAUNCHER      srun (default) or mpirun; MPIQUANT_SRUN_MPI: srun's type of MPI (default: pmix)
#   MPIQUANT_SRUN_OPTIONS  more words for srun, as those of a container (--container-image=…)
#   MPIQUANT_WRAPPER       words before the program on every rank, as `apptainer exec image.sif`
#   MPIQUANT_MAX_RESTARTS  how often the job puts itself back into the queue when it can be resumed (default: 5)
#   MPIQUANT_RECORD        folder where a fleet finds what became of the job (set by `mpiquant fleet`)

usage_error() {
  echo "$job_script: $1" >&2
  exit 2
}

# begin NAME: reads the cluster's file and sets home, program, launcher=(words that start ranks), restarts.
begin() {
  job_script=$1
  home=${MPIQUANT_HOME:-${SLURM_SUBMIT_DIR:-$PWD}}
  if [ -n "${MPIQUANT_CLUSTER:-}" ]; then
    local file=$home/slurm/clusters/$MPIQUANT_CLUSTER.env
    [ -r "$file" ] || usage_error "$file is not there (copy slurm/clusters/example.env, or leave MPIQUANT_CLUSTER unset)"
    # shellcheck source=/dev/null
    . "$file"
  fi
  . "$home/launch/steps.sh"
  program=${MPIQUANT_BIN:-$home/build/bin/mpiquant}
  restarts=${SLURM_RESTART_COUNT:-0}
  code=0
  local tasks=${SLURM_NTASKS:-1} threads=${SLURM_CPUS_PER_TASK:-1} kind=${MPIQUANT_LAUNCHER:-srun}
  local -a more=() wrapper=()
  read -ra more <<<"${MPIQUANT_SRUN_OPTIONS:-}"
  read -ra wrapper <<<"${MPIQUANT_WRAPPER:-}"
  # Inside a container the program is the container's.
  if [ ${#wrapper[@]} -eq 0 ] && [[ ${MPIQUANT_SRUN_OPTIONS:-} != *--container* ]]; then
    [ -x "$program" ] || usage_error "$program is not there (submit from the clone after building, or set MPIQUANT_HOME or MPIQUANT_BIN)"
  fi
  export OMP_NUM_THREADS=$threads
  export SRUN_CPUS_PER_TASK=$threads
  case $kind in
    srun)
      # Not --kill-on-bad-exit: ranks that end with one error would be killed on their way out, and their code be lost. A rank that fails
      # alone ends the others itself; of one that was killed they learn when --wait is over, 20 s later.
      launcher=(srun "--mpi=${MPIQUANT_SRUN_MPI:-pmix}" --ntasks="$tasks" --cpus-per-task="$threads" --kill-on-bad-exit=0 --wait=20
        ${more[@]+"${more[@]}"})
      ;;
    mpirun)
      launcher=(mpirun -n "$tasks" --map-by "slot:PE=$threads" --bind-to "${MPIQUANT_MPIRUN_BIND:-core}")
      if [ "$(id -u)" -eq 0 ]; then launcher+=(--allow-run-as-root); fi
      ;;
    *) usage_error "MPIQUANT_LAUNCHER is '$kind' (srun or mpirun)" ;;
  esac
  launcher+=(${wrapper[@]+"${wrapper[@]}"} "$program")
  echo "$(date -Is) $job_script, job ${SLURM_JOB_ID:-none}: $tasks ranks × $threads threads on ${SLURM_JOB_NODELIST:-$(hostname)} by $kind, restart $restarts"
}

# run COMMAND...: runs it, passes SIGTERM and SIGUSR2 on as SIGUSR2, and sets code: the program's (0 to 6, 75), or 6.
run() {
  export MPIQUANT_EXIT_FILE=${SLURM_SUBMIT_DIR:-$PWD}/.mpiquant-exit-${SLURM_JOB_ID:-$$}
  rm -f "$MPIQUANT_EXIT_FILE"
  local running='' signalled='' early=''
  trap 'signalled=yes; if [ -n "$running" ]; then kill -USR2 "$running" 2>/dev/null; else early=yes; fi' TERM USR2
  "$@" &
  running=$!
  if [ -n "$early" ]; then kill -USR2 "$running" 2>/dev/null; fi
  # A signal ends the wait early, with a code of its own.
  while :; do
    signalled=
    wait "$running"
    code=$?
    [ -n "$signalled" ] || break
  done
  if [ -s "$MPIQUANT_EXIT_FILE" ]; then code=$(<"$MPIQUANT_EXIT_FILE"); fi
  rm -f "$MPIQUANT_EXIT_FILE"
  case $code in
    [0-6] | 75) ;;
    *)
      echo "$job_script: the job step ended with code $code (a rank was killed, or the launcher failed); it can be resumed" >&2
      code=6
      ;;
  esac
}

# finish STEP: writes down what became of it, puts a job that can be resumed back into the queue, and exits.
finish() {
  local word=ended state
  if [ "$code" -eq 75 ] || [ "$code" -eq 6 ]; then
    # A job that is on its way out is shown as COMPLETING, whether it was cancelled or its time was over; the reason tells.
    state=$(scontrol show job -o "${SLURM_JOB_ID:-0}" 2>/dev/null | sed -n 's/.* JobState=\([A-Z_]*\) Reason=\([^ ]*\).*/\1 \2/p')
    if [ -n "$state" ] && [[ $state != RUNNING* ]] && [[ $state != *TimeLimit ]]; then
      echo "$job_script: cancelled; submit it again to resume" >&2
      word=cancelled
    elif [ "$restarts" -lt "${MPIQUANT_MAX_RESTARTS:-5}" ]; then
      word=requeued
    else
      echo "$job_script: ended with code $code after $restarts restarts; submit it again to resume" >&2
    fi
  fi
  # Before the requeue, which ends this script.
  if [ -n "${MPIQUANT_RECORD:-}" ]; then record_step "$MPIQUANT_RECORD" "$1" "$code" "$SECONDS" "${SLURM_JOB_NUM_NODES:-1}" "$word"; fi
  if [ "$word" = requeued ]; then
    echo "$(date -Is) ended with code $code; back into the queue"
    scontrol requeue "$SLURM_JOB_ID" || {
      echo "$job_script: it could not be requeued; submit it again to resume" >&2
      if [ -n "${MPIQUANT_RECORD:-}" ]; then record_step "$MPIQUANT_RECORD" "$1" "$code" 0 0 ended; fi
    }
  fi
  exit "$code"
}
