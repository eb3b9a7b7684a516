#!/usr/bin/env bash
# launch/local.sh returns the program's exit codes, maps deaths by signal to 6 and passes SIGTERM on as SIGUSR2.
# usage: local_test.sh SOURCE_DIR
set -uo pipefail
local_sh=$1/launch/local.sh
export MPIQUANT_BIN=$1/tests/launch/stand_in.sh
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failures=0

expect() { # WHAT WANTED GOT
  [ "$2" = "$3" ] && return
  echo "FAILED: $1: wanted '$2', got '$3'"
  cat "$output"
  failures=$((failures + 1))
}

for code in 0 1 2 3 4 5 6 75; do
  "$local_sh" --ranks 2 exit $code >"$output" 2>&1
  expect "exit code $code" $code $?
done
"$local_sh" --ranks 2 exit 42 >"$output" 2>&1
expect "a code that is not the program's" 6 $?
for signal in KILL SEGV; do
  "$local_sh" --ranks 2 die $signal >"$output" 2>&1
  expect "death of a rank by $signal" 6 $?
done

"$local_sh" --ranks 3 --threads 1 threads >"$output" 2>&1
expect "threads" "3" "$(grep -c 'threads 1$' "$output")"

# One rank for each GPU; those that are visible, if the environment says so.
tools=$(mktemp -d)
trap 'rm -rf "$output" "$tools"' EXIT
printf '#!/bin/sh\nprintf "GPU %%s: H200 (UUID: GPU-x)\\n" 0 1 2\n' >"$tools/nvidia-smi"
chmod +x "$tools/nvidia-smi"
PATH=$tools:$PATH "$local_sh" --threads 1 threads >"$output" 2>&1
expect "a rank for each GPU" "3" "$(grep -c 'threads 1$' "$output")"
CUDA_VISIBLE_DEVICES=0,2 PATH=$tools:$PATH "$local_sh" --threads 1 threads >"$output" 2>&1
expect "a rank for each visible GPU" "2" "$(grep -c 'threads 1$' "$output")"

"$local_sh" --ranks 2 wait 60 >"$output" 2>&1 &
job=$!
for ((i = 0; i < 300; ++i)); do
  [ "$(grep -c waits "$output")" -ne 2 ] || break
  sleep 0.1
done
kill -TERM $job
wait $job
expect "SIGTERM" 75 $?

# An mpirun that does not end after its ranks.
printf '#!/bin/sh\nsleep 2\nexec sleep 300\n' >"$tools/mpirun"
chmod +x "$tools/mpirun"
start=$SECONDS
PATH=$tools:$PATH "$local_sh" --ranks 2 exit 75 >"$output" 2>&1
expect "a launcher that hangs" 6 $?
[ $((SECONDS - start)) -lt 60 ] || expect "its end" "soon" "after $((SECONDS - start)) s"

"$local_sh" >"$output" 2>&1
expect "no command" 2 $?
"$local_sh" --ranks 0 threads >"$output" 2>&1
expect "no ranks" 2 $?
MPIQUANT_BIN=/nonexistent "$local_sh" threads >"$output" 2>&1
expect "no program" 2 $?
[ $failures -eq 0 ]
