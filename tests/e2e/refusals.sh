#!/usr/bin/env bash
# refusals.sh PROGRAM FOLDER: bad input gets the documented exit code on several ranks, says why, and leaves nothing behind.
set -euo pipefail
program=$1 folder=$2
model=tests/models/tiny-llama
text=configs/calibration/corpus-calibration.txt
rm -rf "$folder"
mkdir -p "$folder"
failures=0

# refused NAME CODE PATTERN ARGUMENTS…
refused() {
  local name=$1 code=$2 pattern=$3
  shift 3
  local out status=0
  out=$(mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$program" "$@" 2>&1) || status=$?
  if [ "$status" -ne "$code" ]; then
    echo "FAIL $name: exit code $status instead of $code"; echo "$out"; failures=$((failures + 1))
  elif [ "$(grep -cE "mpiquant: error: .*$pattern" <<<"$out")" -ne 1 ]; then
    echo "FAIL $name: not one line with \"$pattern\""; echo "$out"; failures=$((failures + 1))
  elif [ -e "$folder/out" ] || compgen -G "$folder/.out*" >/dev/null || [ -e "$folder/out.work" ]; then
    echo "FAIL $name: something is left behind"; ls -la "$folder"; rm -rf "$folder/out" "$folder"/.out*; failures=$((failures + 1))
  else
    echo "ok   $name"
  fi
}
copy() { rm -rf "$folder/model"; cp -r $model "$folder/model"; }
quantize=(quantize "$folder/model" --calibration "$text" --nsamples 8 --seqlen 64 --output "$folder/out" --quiet)

copy
refused "unknown command" 2 "no command" quantise
refused "unknown option" 2 "unrecognised option" "${quantize[@]}" --bit 4
refused "five bits" 2 "bits = 5" "${quantize[@]}" --bits 5
refused "impossible group" 2 "group-size 256" "${quantize[@]}" --group-size 512
refused "no calibration text" 3 "nothing.txt" quantize "$folder/model" --calibration "$folder/nothing.txt" --output "$folder/out"
refused "missing model" 3 "hf download" quantize org/missing --calibration $text --output "$folder/out"
refused "output inside the input" 2 "out" quantize "$folder/model" --calibration $text --output "$folder/model/out"
refused "stages" 2 "stages" "${quantize[@]}" --schedule staged --stages 3

copy; truncate -s 4000000 "$folder/model/model-00001-of-00002.safetensors"
refused "truncated shard" 3 "model-00001-of-00002.safetensors" "${quantize[@]}"
copy; printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of="$folder/model/model-00002-of-00002.safetensors" conv=notrunc status=none
refused "header length beyond the file" 3 "model-00002-of-00002.safetensors" "${quantize[@]}"
copy; sed -i 's/LlamaForCausalLM/MambaForCausalLM/' "$folder/model/config.json"
refused "unknown architecture" 3 "LlamaForCausalLM" "${quantize[@]}"
copy; sed -i 's/"hidden_size": 256/"hidden_size": 512/' "$folder/model/config.json"
refused "wrong shape" 3 "embed_tokens" "${quantize[@]}"
copy; sed -i 's/"silu"/"gelu"/' "$folder/model/config.json"
refused "unsupported value" 3 "hidden_act" "${quantize[@]}"
copy; sed -i 's/{/{"hidden_size": 256,/' "$folder/model/config.json"
refused "duplicate key" 3 "hidden_size" "${quantize[@]}"
copy
# The last bytes of the second shard become NaNs.
size=$(stat -c %s "$folder/model/model-00002-of-00002.safetensors")
printf '\xff\x7f' | dd of="$folder/model/model-00002-of-00002.safetensors" bs=1 seek=$((size - 2)) conv=notrunc status=none
refused "NaN in a weight" 3 "model\." "${quantize[@]}"
copy; printf 'too little' >"$folder/short.txt"
refused "too little text" 3 "window of 64" quantize "$folder/model" --calibration "$folder/short.txt" --seqlen 64 --output "$folder/out"
printf 'bad \xff\xfe text' >"$folder/latin.txt"
refused "invalid UTF-8" 3 "UTF-8" quantize "$folder/model" --calibration "$folder/latin.txt" --seqlen 64 --output "$folder/out"
: >"$folder/empty.txt"
refused "empty text" 3 "empty" quantize "$folder/model" --calibration "$folder/empty.txt" --seqlen 64 --output "$folder/out"

if [ "$failures" -ne 0 ]; then echo "$failures failures"; exit 1; fi
