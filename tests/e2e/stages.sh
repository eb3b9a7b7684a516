#!/usr/bin/env bash
# stages.sh PROGRAM FOLDER
# Stages that end apart: an error of one stage ends the job at once with its code, said once; a stop finds stages that compute, that
# wait for another and that are done, and the same command goes on; a stage that is done waits longer than the deadline of a hang.
set -euo pipefail
program=$1 folder=$2
here=$(dirname "${BASH_SOURCE[0]}")
model=tests/models/tiny-llama
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
rm -rf "${folder:?}"
mkdir -p "$folder"
fail() { echo "stages.sh: $*"; exit 1; }

# The ranks write their log themselves: what they say last may be lost on its way through mpirun, which ends the job by then.
quantize() {  # RANKS MODEL NAME [OPTIONS]
  local ranks=$1 from=$2 name=$3
  shift 3
  LOG=$folder/$name.log exec "${mpirun[@]}" -n "$ranks" bash -c 'exec "$0" "$@" 2>>"$LOG"' "$program" quantize "$from" --bits 4 --group-size 64 --calibration configs/calibration/corpus-calibration.txt \
    --nsamples 64 --seqlen 256 --threads 1 --output "$folder/$name" "$@"
}
staged=(--schedule staged --stages 2)

(quantize 1 $model reference-gptq --propagate gptq --quiet)
(quantize 1 $model reference-original --propagate original --quiet)

for ranks in 2 4; do
  layer=$((ranks == 2 ? 0 : 5))
  rm -rf "$folder/model"
  cp -r $model "$folder/model"
  shard=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["weight_map"][sys.argv[2]])' \
    "$folder/model/model.safetensors.index.json" "model.layers.$layer.mlp.down_proj.weight")
  python3 "$here/damage.py" "$folder/model/$shard" "i = at('model.layers.$layer.mlp.down_proj.weight', 3 * 768 + 5); d[i:i + 2] = b'\xc0\x7f'"
  start=$SECONDS code=0
  (quantize "$ranks" "$folder/model" bad "${staged[@]}" --propagate gptq --quiet) 2>>"$folder/bad.log" || code=$?
  [ $code = 3 ] || { cat "$folder/bad.log"; fail "a NaN in layer $layer gave code $code on $ranks ranks"; }
  [ $((SECONDS - start)) -lt 30 ] || fail "the stages took $((SECONDS - start)) s to end"
  [ "$(grep -c "mpiquant: error: .*layers.$layer.mlp.down_proj.weight holds nan" "$folder/bad.log")" = 1 ] ||
    { cat "$folder/bad.log"; fail "the error is not said once"; }
  [ ! -e "$folder/bad" ] || fail "an output under its final name"
  [ -z "$(find "$folder" -maxdepth 1 -name '*bad*' ! -name bad.log)" ] || fail "a NaN in layer $layer on $ranks ranks leaves $(ls -A "$folder")"
  rm -f "$folder/bad.log"
  echo "ok: a NaN in layer $layer on $ranks ranks"
done

# stopped PROPAGATED LAYER RANKS: a stop after a layer was committed, and on with other ranks.
stopped() {
  local name=$1-$2-$3 propagate=(--propagate "$1") layer=$2 ranks=$3 code=0
  (quantize "$ranks" $model "$name" "${staged[@]}" "${propagate[@]}" --quiet) 2>>"$folder/$name.log" & local job=$!
  for _ in $(seq 1200); do
    [ ! -e "$folder/$name.work/checkpoint/layer-0000$layer.json" ] || break
    sleep 0.02
  done
  pkill -USR2 -f "^$program quantize .*$folder/$name" || fail "$name ended before it was stopped"
  wait $job || code=$?
  [ $code = 75 ] || { cat "$folder/$name.log"; fail "$name: code $code after a stop"; }
  [ "$(grep -c "stopped on request" "$folder/$name.log")" = 1 ] || { cat "$folder/$name.log"; fail "$name: the stop is not said once"; }
  [ ! -e "$folder/$name" ] || fail "an output under its final name"
  (quantize 3 $model "$name" --restart require --quiet "${propagate[@]}")
  cmp "$folder/$name/SHA256SUMS" "$folder/reference-$1/SHA256SUMS" || fail "$name has other bytes"
  echo "ok: $name"
}
for ranks in 2 4; do
  stopped gptq 0 $ranks  # stage 1 waits for hidden states
  stopped gptq 2 $ranks  # stage 0 is done
  stopped original 0 $ranks
done

# Stage 1 takes longer than a wait may last.
(quantize 2 $model slow "${staged[@]}" --propagate gptq --hang-timeout 1) 2>>"$folder/slow.log" || fail "a stage that is done did not wait"
grep -q 'the stages work one after another' "$folder/slow.log" || fail "nothing is said of stages that wait for each other"
for layer in 1 2 3 4 5 6; do
  grep -q "layer $layer of 6: stage $((layer > 3)), loss" "$folder/slow.log" || { cat "$folder/slow.log"; fail "no line of layer $layer"; }
done
cmp "$folder/slow/SHA256SUMS" "$folder/reference-gptq/SHA256SUMS" || fail "slow has other bytes"
rm -rf "$folder"
