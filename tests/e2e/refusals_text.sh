#!/usr/bin/env bash
# Calibration text that cannot be used.
# shellcheck source=tests/e2e/refusals_lib.sh
source "$(dirname "$0")/refusals_lib.sh"
copy
calibrated() { quantize=(quantize "$folder/model" --calibration "$1" --seqlen 64 --output "$folder/run/out" --quiet); }

calibrated "$folder/nothing.txt"
refused "no such text" 3 'cannot open .*nothing.txt' 'check the path' "${quantize[@]}"
printf 'too little' >"$folder/short.txt"; calibrated "$folder/short.txt"
refused "too little text" 3 'tokens, not one window of 64' 'give more text, or' "${quantize[@]}"
printf 'bad \xff\xfe text' >"$folder/latin.txt"; calibrated "$folder/latin.txt"
refused "text that is not UTF-8" 3 'latin.txt is not valid UTF-8 at byte 4' 'convert the text to UTF-8' "${quantize[@]}"
: >"$folder/empty.txt"; calibrated "$folder/empty.txt"
refused "empty text" 3 'empty.txt is empty' 'name another file' "${quantize[@]}"
printf '{"content": "x"}\n' >"$folder/field.jsonl"; calibrated "$folder/field.jsonl"
refused "missing field" 3 'field.jsonl, line 1 has no field "text"' 'name the right one' "${quantize[@]}"
printf '{"text": "x"}\n{"text": \n' >"$folder/cut.jsonl"; calibrated "$folder/cut.jsonl"
refused "truncated record" 3 'cut.jsonl, line 2 is not valid JSON' 'correct it' "${quantize[@]}"
echo '[[1, 2, 99999]]' >"$folder/ids.json"
refused "ids outside of the vocabulary" 3 'token id 99999' 'do not belong together' quantize "$folder/model" --calibration-ids "$folder/ids.json" --output "$folder/run/out"
echo '[[1, 2, 3], [4, 5, 6, 7]]' >"$folder/ids.json"
refused "ids that are to be cut" 2 'nsamples does nothing with --calibration-ids' 'leave one' quantize "$folder/model" --calibration-ids "$folder/ids.json" --nsamples 1 --output "$folder/run/out"
refused "windows that are to be cut" 2 'window does nothing with --ids' 'leave one' evaluate "$folder/model" --ids "$folder/ids.json" --window 2
refused "no window" 2 'window 0 .*nothing would be scored' 'from 1 on' evaluate "$folder/model" --text "$text" --window 0
refused "a text without a window" 3 'tokens, not one window of 512' 'evaluate: --window' evaluate "$folder/model" --text "$folder/short.txt"
[ "$("$program" evaluate "$folder/model" --ids "$folder/ids.json" --max-windows 1 --json --quiet | grep -o '"tokens":[0-9]*')" = '"tokens":2' ] ||
  { echo "FAIL the first of two windows of ids"; failures=$((failures + 1)); }
echo 'not HDF5' >"$folder/tokens.h5"
refused "token store that is none" 3 'tokens.h5' 'tokens.h5' quantize "$folder/model" --calibration "$text" --token-store "$folder/tokens.h5" --output "$folder/run/out"
finish
