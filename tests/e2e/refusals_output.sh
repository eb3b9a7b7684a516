#!/usr/bin/env bash
# Outputs that cannot be written. The third argument is a library that plays a full disk.
# shellcheck source=tests/e2e/refusals_lib.sh
source "$(dirname "$0")/refusals_lib.sh"
full_disk=$3
copy
to() { quantize=(quantize "$folder/model" --calibration "$text" --nsamples 8 --seqlen 64 --output "$1" --quiet); }

to "$folder/model/out"
refused "output inside the input" 2 "output .* lies in the model's folder" 'choose another' "${quantize[@]}"
to "$folder"
refused "input inside the output" 2 "output .* holds the model's folder" 'choose another' "${quantize[@]}"
mkdir "$folder/run/out"; to "$folder/run/out"
refused "output that exists" 2 'run/out exists' 'choose another output or give --force' "${quantize[@]}"
rmdir "$folder/run/out"
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
export LD_PRELOAD="$full_disk" MPIQUANT_TEST_FULL_DISK="$folder/run/"
refused "full disk" 6 'No space left on device' 'free space or choose another file system' "${quantize[@]}"
unset LD_PRELOAD MPIQUANT_TEST_FULL_DISK
finish
