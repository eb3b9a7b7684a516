#!/usr/bin/env bash
# mixed.sh PROGRAM FOLDER: ranks, and a run that goes on, with other kernel sets than those before are refused by name, unless
# --allow-mixed takes them; the output then says which there were. OpenBLAS stands in for processors of two kinds.
set -euo pipefail
program=$1 folder=$2
model=tests/models/tiny-llama
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
one=(env OPENBLAS_CORETYPE=Haswell) other=(env OPENBLAS_CORETYPE=Sandybridge)
rm -rf "${folder:?}"
mkdir -p "$folder"
# What ranks say last may be lost on its way through mpirun, which ends the job by then: they write it themselves.
own_log=(bash -c 'exec "$0" "$@" 2>>"$LOG"')
export LOG=$folder/log
fail() { echo "FAIL $*"; exit 1; }
quantize() {  # NAME [OPTIONS]: the words of the command
  words=("$program" quantize "$model" --bits 4 --group-size 64 --calibration configs/calibration/corpus-calibration.txt --nsamples 64 --seqlen 256
    --threads 1 --output "$folder/$1" "${@:2}")
}
sets() { python3 -c 'import json, sys; print(*[s.split()[-1] for s in json.load(open(sys.argv[1]))["recipe"]["compute"].split(" + ")])' "$folder/$1/mpiquant.json"; }
distance() { "$program" verify "$folder/$1" --against $model --json | python3 -c 'import json, sys; print(max(json.load(sys.stdin)["relative_errors"].values()))'; }

quantize together --quiet
code=0
"${mpirun[@]}" -n 1 "${own_log[@]}" "${one[@]}" "${words[@]}" : -n 1 "${own_log[@]}" "${other[@]}" "${words[@]}" 2>>"$LOG" || code=$?
[ $code = 6 ] && grep -q 'rank 1 has another kernel set than rank 0 .* --allow-mixed' "$folder/log" || { cat "$folder/log"; fail "ranks of two kinds"; }
quantize together --allow-mixed --quiet
words+=(--schedule staged --stages 2)
wider=("${words[@]/%1/2}")  # the second rank has two threads
"${mpirun[@]}" -n 1 "${one[@]}" "${words[@]}" : -n 1 "${other[@]}" "${wider[@]}" 2>"$folder/log" || { cat "$folder/log"; fail "--allow-mixed"; }
grep -q 'the ranks have 2 kernel sets' "$folder/log" || fail "nothing is said of the two kinds"
[ "$(sets together)" = "Haswell Sandybridge" ] || fail "the output names $(sets together)"
quantize alone --allow-mixed --quiet
"${one[@]}" "${words[@]}"
[ "$(sets alone)" = Haswell ] || fail "one kind is called $(sets alone)"
python3 -c 'import sys; a, b = map(float, sys.argv[1:]); sys.exit(not abs(a - b) < 0.01 * b)' "$(distance together)" "$(distance alone)" ||
  fail "the mixed output is as far from the model as $(distance together), the other $(distance alone)"

# Nothing is committed by the first start: the second one's kernels are the only ones.
quantize fresh
"${one[@]}" "${words[@]}" 2>"$folder/log" & job=$!
for _ in $(seq 600); do [ ! -e "$folder/fresh.work/checkpoint/run.json" ] || break; sleep 0.02; done
kill -KILL "$job"; wait "$job" 2>/dev/null || true
if ls "$folder"/fresh.work/checkpoint/layer-* 2>/dev/null; then fail "a layer is committed already"; fi
"${other[@]}" "${words[@]}" --quiet || fail "going on elsewhere with nothing done"
[ "$(sets fresh)" = Sandybridge ] || fail "the output of the second start names $(sets fresh)"

quantize later
"${one[@]}" "${words[@]}" 2>"$folder/log" & job=$!
for _ in $(seq 600); do grep -q 'layer 1 of' "$folder/log" && break; sleep 0.05; done
kill -USR2 "$job"
code=0; wait "$job" || code=$?
[ $code = 75 ] || { cat "$folder/log"; fail "the stop gave code $code"; }
code=0; "${other[@]}" "${words[@]}" 2>"$folder/log" || code=$?
[ $code = 2 ] && grep -q 'kernel set differs from that of the run .* --allow-mixed' "$folder/log" || { cat "$folder/log"; fail "going on elsewhere"; }
"${one[@]}" "${words[@]}" --keep-hessians --allow-mixed --quiet 2>/dev/null && fail "kept Hessians of two kinds"
"${other[@]}" "${words[@]}" --allow-mixed 2>"$folder/log" & job=$!
for _ in $(seq 600); do grep -q 'layer 4 of' "$folder/log" && break; sleep 0.05; done
kill -USR2 "$job"
code=0; wait "$job" || code=$?
[ $code = 75 ] && grep -q 'layers that are done were made by another kernel set' "$folder/log" || { cat "$folder/log"; fail "the second stop gave code $code"; }
code=0; "${one[@]}" "${words[@]}" 2>"$folder/log" || code=$?
[ $code = 2 ] || { cat "$folder/log"; fail "a mixed run goes on without --allow-mixed"; }
"${one[@]}" "${words[@]}" --allow-mixed 2>"$folder/log" || { cat "$folder/log"; fail "going on elsewhere with --allow-mixed"; }
grep -q 'going on with' "$folder/log" || fail "it began anew"
[ "$(sets later)" = "Haswell Sandybridge" ] || fail "the output that was gone on with names $(sets later)"
echo "kernel sets mix only when asked to"
