#!/usr/bin/env bash
# Ranks that do not belong together. The third argument is the program with another version.
# shellcheck source=tests/e2e/refusals_lib.sh
source "$(dirname "$0")/refusals_lib.sh"
other_program=$3
copy
mv "$folder/model" "$folder/other"
copy
elsewhere=("${quantize[@]}"); elsewhere[1]="$folder/other"
evaluate=(evaluate "$folder/model" --text "$text" --window 64 --max-windows 2 --quiet)
refused_apart "another program on a rank" 6 'rank 1 has another program version than rank 0' 'start all ranks with the same program' \
  "$program" "${quantize[@]}" : "$other_program" "${quantize[@]}"
refused_apart "another program, evaluate" 6 'rank 1 has another program version' 'the same program' \
  "$program" "${evaluate[@]}" : "$other_program" "${evaluate[@]}"
refused_apart "other options on a rank" 6 'rank 1 has another' 'the same program, options and files' \
  "$program" "${quantize[@]}" : "$program" "${quantize[@]}" --bits 3
python3 "$here/damage.py" "$folder/other/$shard2" 'd[:] = bytes(len(d))'
refused_apart "other weights on a rank" 6 'rank 1 has another content of the model' 'the same program, options and files' \
  "$program" "${quantize[@]}" : "$program" "${elsewhere[@]}"
cp "$folder/model/$shard2" "$folder/other/$shard2"
sed -i 's/"rms_norm_eps": .*,/"rms_norm_eps": 1e-3,/' "$folder/other/config.json"
refused_apart "another config.json on a rank" 6 'rank 1 has another' 'the same program, options and files' \
  "$program" "${quantize[@]}" : "$program" "${elsewhere[@]}"
rm -r "$folder/other"
refused_apart "no model on a rank" 3 '\[rank 1\] .*other' 'check the path|hf download' \
  "$program" "${quantize[@]}" : "$program" "${elsewhere[@]}"
finish
