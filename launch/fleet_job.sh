#!/usr/bin/env bash
# One job of a fleet on this machine: quantize, then evaluate. `mpiquant fleet` starts it; a person has no need to.
#
# usage: launch/fleet_job.sh FOLDER ATTEMPT COUNT QUANTIZE... EVALUATE...      (COUNT words of QUANTIZE, perhaps none of EVALUATE)
#
# It waits for a line on standard input, which comes once the fleet has written down this process; without it, nothing was begun.
# Logs are FOLDER/quantize-ATTEMPT.log and evaluate-ATTEMPT.log. FOLDER/STEP.exit gets the exit code when a step ends for good,
# FOLDER/usage a line "STEP CODE SECONDS NODES" each time.
set -uo pipefail
. "$(dirname "$0")/steps.sh"

folder=$1 attempt=$2 count=$3
shift 3
quantize=("${@:1:count}")
evaluate=("${@:count+1}")
read -r word || exit 6
[ "$word" = go ] || exit 6

running=
signalled=
stopped=
trap 'signalled=yes; stopped=yes; [ -z "$running" ] || kill -TERM "$running" 2>/dev/null' TERM USR2 INT

step() { # NAME COMMAND...
  local name=$1 begun=$SECONDS code
  shift
  "$@" </dev/null >>"$folder/$name-$attempt.log" 2>&1 &
  running=$!
  # A signal that came before there was anything to pass it to.
  [ -z "$stopped" ] || kill -TERM "$running" 2>/dev/null
  while :; do
    signalled=
    wait "$running"
    code=$?
    [ -n "$signalled" ] || break
  done
  running=
  # A death by signal, of a launcher that was told to end before it could pass that on too.
  case $code in
    [0-6] | 75) ;;
    *) if [ -n "$stopped" ]; then code=75; else code=6; fi ;;
  esac
  record_step "$folder" "$name" "$code" $((SECONDS - begun)) 1 ended
  [ "$code" -eq 0 ] || exit "$code"
}

if [ ! -s "$folder/quantize.exit" ]; then step quantize "${quantize[@]}"; fi
if [ ${#evaluate[@]} -gt 0 ]; then
  [ -z "$stopped" ] || exit 75
  step evaluate "${evaluate[@]}"
fi
