#!/usr/bin/env bash
# Outputs that cannot be written. The third argument is a library that plays bad disks.
# shellcheck source=tests/e2e/refusals_lib.sh
source "$(dirname "$0")/refusals_lib.sh"
bad_disk=$3
copy
to() { quantize=(quantize "$folder/model" --calibration "$text" --nsamples 8 --seqlen 64 --output "$1" --quiet); }

to "$folder/model/out"
refused "output inside the input" 2 "output .* lies in the model's folder" 'choose another' "${quantize[@]}"
to "$folder"
refused "input inside the output" 2 "output .* holds the model's folder" 'choose another' "${quantize[@]}"
mkdir "$folder/run/out"; to "$folder/run/out"
refused "output that exists" 2 'run/out exists' 'choose another output or give --force' "${quantize[@]}"
echo "mine" >"$folder/run/out/file"
refused "what is no output" 2 'run/out is no output of mpiquant' 'choose another output or remove it by hand' "${quantize[@]}" --force
rm -r "$folder/run/out"
ln -s nowhere "$folder/run/out"
refused "a link to nothing" 2 'run/out is a link to nothing' 'choose another output' "${quantize[@]}"
rm "$folder/run/out"
"$program" "${quantize[@]}" --method rtn
cp "$text" "$folder/run/out/text.txt"
refused "a text in the output" 2 'holds .*run/out/text.txt' 'choose another output' "${quantize[@]}" --calibration "$folder/run/out/text.txt" --force
rm -r "$folder/run/out" "$folder/run/out.work"
refused "a work folder in the output" 2 'work folder .*run/out/w lies in the output' 'choose another --work-dir' "${quantize[@]}" --work-dir "$folder/run/out/w"
refused "a work folder in the model" 2 "work folder .* lies in the model's folder" 'choose another --work-dir' "${quantize[@]}" --work-dir "$folder/model/w"
mkdir -p "$folder/run/state/checkpoint"; echo "mine" >"$folder/run/state/checkpoint/file"
refused "a checkpoint that is none" 2 'checkpoint holds file, which is of no interrupted run' 'choose another --work-dir' "${quantize[@]}" --work-dir "$folder/run/state"
echo "mine" >"$folder/run/out.work"
refused "a file as work folder" 2 'run/out.work is not a directory' 'choose another --work-dir' "${quantize[@]}"
[ "$(cat "$folder/run/state/checkpoint/file" "$folder/run/out.work")" = "mine
mine" ] || { echo "FAIL something of the user's was removed"; failures=$((failures + 1)); }
rm -r "$folder/run/state" "$folder/run/out.work"
to "$folder/run/no/out"
refused "no folder for the output" 6 'run/no does not exist' 'create it' "${quantize[@]}"
touch "$folder/file"; to "$folder/file/out"
refused "a file in the place of a folder" 6 'file is not a directory' 'choose another' "${quantize[@]}"
if [ "$(id -u)" -eq 0 ]; then
  to /proc/mpiquant-out  # where not even root may write
else
  mkdir -p "$folder/locked"; chmod 555 "$folder/locked"; to "$folder/locked/out"
fi
refused "unwritable place" 6 'cannot create|not writable' 'choose a place this user may write to' "${quantize[@]}"
to "$folder/run/out"
export LD_PRELOAD="$bad_disk" MPIQUANT_TEST_FULL_DISK="$folder/run/"
refused "full disk" 6 'No space left on device' 'free space or choose another file system' "${quantize[@]}"
unset MPIQUANT_TEST_FULL_DISK
export MPIQUANT_TEST_LYING_DISK="$folder/run/"
for format in gptq compressed-tensors gguf:q8_0; do
  refused "a disk that lies, $format" 4 'output is not what was written: .*(tensor)' 'look at the disk' "${quantize[@]}" --format $format
done
unset LD_PRELOAD MPIQUANT_TEST_LYING_DISK
refused_full() {  # COMMAND…: its results are not taken
  local code=0
  "$program" "$@" >/dev/full 2>"$folder/log" || code=$?
  [ $code -eq 6 ] && grep -q "results could not be written" "$folder/log" || { echo "FAIL $1 to a full device: code $code"; failures=$((failures + 1)); }
}
refused_full list methods
refused_full inspect "$folder/model" --json
finish
