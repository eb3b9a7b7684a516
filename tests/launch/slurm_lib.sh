# shellcheck shell=bash
# Shared by the tests on a Slurm of four virtual nodes. `need_slurm` ends the test with code 77 where Slurm is not installed;
# `start_cluster SOURCE_DIR` starts one in a folder of its own, which becomes the current folder and goes away at the end.
failures=0
PATH=$PATH:/usr/sbin

need_slurm() {
  local program
  for program in slurmctld slurmd munged; do
    command -v $program >/dev/null || {
      echo "SKIPPED: $program was not found; install the packages slurm-wlm and munge"
      exit 77
    }
  done
}

start_cluster() {
  source_dir=$1
  folder=$(mktemp -d)
  # Below the ports that the system gives to connections; another program may still have one of them.
  local try
  trap '"$source_dir/scripts/dev-cluster.sh" stop "${where[@]}" >/dev/null; rm -rf "$folder"' EXIT
  for try in 1 2 3; do
    where=(--dir "$folder/c" --port $((20000 + ($$ + 400 * try) % 1200 * 10)))
    ! "$source_dir/scripts/dev-cluster.sh" start "${where[@]}" || break
    [ $try -lt 3 ] || exit 1
    "$source_dir/scripts/dev-cluster.sh" stop "${where[@]}"
  done
  # shellcheck source=/dev/null
  . "$folder/c/env"
  cd "$folder" || exit 1
  export MPIQUANT_HOME=$source_dir MPIQUANT_MAX_RESTARTS=0 MPIQUANT_MPIRUN_BIND=none
}

expect() { # WHAT WANTED GOT LOG
  if [ "$2" = "$3" ]; then
    echo "ok   $1 ($SECONDS s)"
    return
  fi
  echo "FAILED: $1: wanted '$2', got '$3'"
  cat "$4"
  failures=$((failures + 1))
}
field() { scontrol show job "$1" 2>/dev/null | sed -n "s/.*\b$2=\([^ ]*\).*/\1/p" | head -1; }
ended() { # JOB: waits, prints the exit code
  local state i
  for ((i = 0; i < 1500; ++i)); do
    state=$(field "$1" JobState)
    case $state in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL) break ;; esac
    sleep 0.2
  done
  field "$1" ExitCode | cut -d: -f1
}
wait_in() { # FILE PATTERN [COUNT]: until so many lines of the file have it
  local i count
  for ((i = 0; i < 1200; ++i)); do
    count=$(grep -cs "$2" "$1")
    [ "${count:-0}" -lt "${3:-1}" ] || return 0
    sleep 0.1
  done
  echo "FAILED: $1 has not $2"
  failures=$((failures + 1))
}
