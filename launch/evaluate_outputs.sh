#!/usr/bin/env bash
# Evaluates every output of a run: perplexity, and distance from the original if --reference is among the arguments.
#
# usage: launch/evaluate_outputs.sh RESULTS OUTPUT COMMAND...
#        launch/evaluate_outputs.sh OUT.work/evaluation OUT launch/local.sh --ranks 2 evaluate --reference MODEL --text test.txt
#
# OUTPUT is a folder that `mpiquant quantize` wrote: one output, or a folder for each. COMMAND is called with the folder of an output and
# --json at its end; what it prints becomes RESULTS/LABEL.json (LABEL: the folder's name, "output" for a single one). Results
# that are there already are kept. Returns the code of the first evaluation that failed; 6 if there is no output.
set -uo pipefail
if [ $# -lt 3 ]; then
  echo "evaluate_outputs.sh: RESULTS, OUTPUT or COMMAND is missing" >&2
  exit 2
fi
results=$1 output=$2
shift 2
mkdir -p "$results" || exit 6

running=
signalled=
trap 'signalled=yes; [ -z "$running" ] || kill -TERM "$running" 2>/dev/null' TERM USR2

evaluate() { # LABEL FOLDER COMMAND...
  local result=$results/$1.json folder=$2 code
  shift 2
  [ ! -s "$result" ] || return 0
  "$@" "$folder" --json >"$result.partial" </dev/null &
  running=$!
  while :; do
    signalled=
    wait "$running"
    code=$?
    [ -n "$signalled" ] || break
  done
  running=
  if [ $code -ne 0 ]; then
    rm -f "$result.partial"
    exit $code
  fi
  mv "$result.partial" "$result" || exit 6
}

found=
if [ -e "$output/SHA256SUMS" ]; then
  found=yes
  evaluate output "$output" "$@"
else
  for folder in "$output"/*/; do
    [ -e "$folder/SHA256SUMS" ] || continue
    found=yes
    evaluate "$(basename "$folder")" "${folder%/}" "$@"
  done
fi
if [ -z "$found" ]; then
  echo "evaluate_outputs.sh: $output holds no output (it was not written, or is not whole)" >&2
  exit 6
fi
