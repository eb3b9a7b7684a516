#!/usr/bin/env bash
# stop.sh PROGRAM FOLDER
# Stop signals: one stops after a layer with code 75, and the same command goes on; a second one ends at once, with no harm; a second
# job on the same output is refused while the first lives.
set -euo pipefail
program=$1 folder=$2
model=tests/models/tiny-llama
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
rm -rf "${folder:?}"
mkdir -p "$folder"
fail() { echo "stop.sh: $*"; exit 1; }

quantize() {  # RANKS NAME [OPTIONS]
  local ranks=$1 name=$2
  shift 2
  exec "${mpirun[@]}" -n "$ranks" "$program" quantize $model --bits 4 --group-size 64 --calibration configs/calibration/corpus-calibration.txt \
    --nsamples 64 --seqlen 256 --threads 1 --output "$folder/$name" "$@"
}
# Waits for a line of a log.
line() {  # WORDS LOG
  for _ in $(seq 600); do
    if grep -q "$1" "$2" 2>/dev/null; then return; fi
    sleep 0.05
  done
  fail "no \"$1\" in $2"
}

(quantize 1 reference --quiet)

(quantize 2 one) 2>"$folder/one.log" & job=$!
line "layer 1 of" "$folder/one.log"
# The job stands still while another tries its output, and a stop is asked for.
ranks=$(pgrep -f "^$program quantize .*$folder/one")
[ "$(wc -w <<<"$ranks")" = 2 ] || fail "the ranks are not found: $ranks"
# shellcheck disable=SC2086
kill -STOP $ranks
(quantize 1 one --work-dir "$folder/elsewhere") 2>"$folder/third.log" & third=$!
if (quantize 1 one) 2>"$folder/second.log"; then fail "two jobs on one output"; fi
if wait $third; then fail "two jobs on one output, with two work folders"; fi
# shellcheck disable=SC2086
kill -USR2 $ranks
# shellcheck disable=SC2086
kill -CONT $ranks
grep -q "another job works on this output: process [0-9]* on" "$folder/second.log" || fail "the second job was not told why"
grep -q "another job works on this output: process [0-9]* on" "$folder/third.log" || fail "the third job was not told why"
code=0; wait "$job" || code=$?
[ $code = 75 ] || fail "USR2 gave code $code"
[ ! -e "$folder/one" ] || fail "an output under its final name"
grep -q "stopped on request" "$folder/one.log" || fail "no word about the stop"
planned=$(MPIQUANT_HOME=$PWD "$program" plan $model --ranks 2 --bits 4 --group-size 64 --nsamples 64 --seqlen 256 --threads 1 --json)
python3 - "$folder/one.work/checkpoint/plan.json" "$planned" <<'PY' || fail "the checkpoint holds another plan"
import json, sys
kept, planned = json.load(open(sys.argv[1])), json.loads(sys.argv[2])
assert kept["plan"]["version"] == 1 and kept["plan"]["replicas"] == 2 and kept["hash"] == planned["plan"], (kept["hash"], planned["plan"])
PY
(quantize 3 one --restart require) 2>"$folder/again.log"
grep -q "going on with" "$folder/again.log" || fail "the second start began anew"
cmp "$folder/one/SHA256SUMS" "$folder/reference/SHA256SUMS" || fail "other bytes after a stop"

# Two signals, to a process that no mpirun watches.
"$program" quantize $model --bits 4 --group-size 64 --calibration configs/calibration/corpus-calibration.txt --nsamples 64 --seqlen 256 \
  --threads 1 --output "$folder/two" 2>"$folder/two.log" & job=$!
line "layer 2 of" "$folder/two.log"
kill -TERM "$job"
kill -TERM "$job" 2>/dev/null || true
code=0; wait "$job" || code=$?
[ $code = 75 ] || fail "two signals gave code $code"
[ ! -e "$folder/two" ] || fail "an output under its final name"
(quantize 2 two --quiet)
cmp "$folder/two/SHA256SUMS" "$folder/reference/SHA256SUMS" || fail "other bytes after two signals"
rm -rf "$folder"
