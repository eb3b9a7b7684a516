#!/usr/bin/env bash
# A real Slurm on this machine, with virtual nodes, for trying out batch scripts. Everything it makes lies in one folder; it uses the
# packages slurm-wlm and munge, but neither their services nor their configuration.
#
# usage: scripts/dev-cluster.sh start|stop|status|env [--dir DIR] [--nodes N] [--cpus C] [--port P]
#
#   --dir DIR    the folder (default: out/dev-cluster in the clone); a short path, as sockets lie in it
#   --nodes N    virtual nodes (default: 4), of --cpus C processors each (default: 2)
#   --port P     first of N + 1 ports on 127.0.0.1 (default: 17000)
#
# After `start`, `. DIR/env` lets sbatch, srun, squeue and scancel of the shell talk to it. Jobs run as the user who started it.
set -euo pipefail

fail() {
  echo "dev-cluster.sh: $1" >&2
  exit "${2:-6}"
}
number() { [[ ${2:-} =~ ^[1-9][0-9]{0,4}$ ]] || fail "$1 needs a number of 1 or more" 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
dir=$root/out/dev-cluster
nodes=4
cpus=2
port=17000
action=${1:-}
[ $# -eq 0 ] || shift
while [ $# -gt 0 ]; do
  case $1 in
    --dir) dir=${2:-}; [ -n "$dir" ] || fail "--dir needs a folder" 2 ;;
    --nodes) number "$@"; nodes=$2 ;;
    --cpus) number "$@"; cpus=$2 ;;
    --port) number "$@"; port=$2 ;;
    *) fail "unknown option '$1'" 2 ;;
  esac
  shift 2
done
PATH=$PATH:/usr/sbin:/sbin

# Is the process of this pid file at work?
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

gone() { ! kill -0 "$1"; }

wait_for() { # SECONDS COMMAND...
  local left=$(($1 * 10))
  shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || return 1
    sleep 0.1
  done
}

# cred_expire: a requeued job waits so many seconds before it may start again.
write_configuration() {
  local user host memory
  user=$(id -un)
  host=$(hostname)
  memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) * 9 / 10 / 1024 / nodes))
  cat >"$dir/slurm.conf" <<END
ClusterName=dev
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdSpoolDir=$dir/%n/spool
SlurmdPidFile=$dir/%n/slurmd.pid
SlurmdLogFile=$dir/%n/slurmd.log
TmpFS=$dir/%n/tmp
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=pmix
SwitchType=switch/none
ReturnToService=2
KillWait=10
NodeName=node[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=$cpus RealMemory=$memory
PartitionName=dev Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  cat >"$dir/env" <<END
export SLURM_CONF=$dir/slurm.conf
END
}

no_jobs() { [ -z "$(squeue -h)" ]; }
all_idle() { [ "$(sinfo -h -N -t idle | wc -l)" -eq "$nodes" ]; }

start() {
  local program node
  for program in munged slurmctld slurmd sinfo; do
    command -v $program >/dev/null || fail "$program was not found; install the packages slurm-wlm and munge"
  done
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  [ ${#dir} -le 70 ] || fail "the path of $dir is too long for sockets (at most 70 characters); give a shorter --dir" 2
  ! alive "$dir/slurmctld.pid" || fail "a cluster is running in $dir; stop it first" 2
  mkdir -p "$dir/state"
  install -d -m 755 "$dir/munge"
  for ((node = 1; node <= nodes; ++node)); do mkdir -p "$dir/node$node/spool" "$dir/node$node/tmp"; done
  [ -s "$dir/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
  write_configuration
  export SLURM_CONF=$dir/slurm.conf
  # The folder may lie below ones that others can write to: --force accepts that for a key that serves this cluster only.
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
    --seed-file="$dir/munge/seed" --log-file="$dir/munge/log" 2>>"$dir/munge/warnings"
  slurmctld -f "$SLURM_CONF" >>"$dir/slurmctld.log" 2>&1
  for ((node = 1; node <= nodes; ++node)); do slurmd -f "$SLURM_CONF" -N "node$node" >>"$dir/node$node/slurmd.log" 2>&1; done
  if ! wait_for 30 all_idle; then
    sinfo >&2 || true
    fail "not all nodes came up within 30 s; the reasons are in $dir/*.log and $dir/node*/slurmd.log"
  fi
  echo "started: node1 to node$nodes, $cpus processors each; now: . $dir/env"
}

end_process() { # PID_FILE
  local pid
  alive "$1" || return 0
  pid=$(cat "$1")
  kill "$pid"
  wait_for 10 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
  rm -f "$1"
}

stop() {
  [ -d "$dir" ] || { echo "nothing runs in $dir"; return; }
  dir=$(cd "$dir" && pwd)
  export SLURM_CONF=$dir/slurm.conf
  if alive "$dir/slurmctld.pid"; then
    scancel --user="$(id -un)" 2>/dev/null || true
    wait_for 30 no_jobs || true
  fi
  end_process "$dir/slurmctld.pid"
  local file
  for file in "$dir"/node*/slurmd.pid; do end_process "$file"; done
  end_process "$dir/munge/pid"
  echo "stopped; logs are in $dir"
}

status() {
  alive "$dir/slurmctld.pid" || fail "no cluster runs in $dir" 1
  export SLURM_CONF=$dir/slurm.conf
  sinfo -N -l
  squeue
}

case $action in
  start) start ;;
  stop) stop ;;
  status) status ;;
  env) cat "$dir/env" ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" ;;
  *) fail "start, stop, status or env? (see --help)" 2 ;;
esac
