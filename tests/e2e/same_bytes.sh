#!/usr/bin/env bash
# same_bytes.sh PROGRAM reference|RANKS FOLDER
# Quantizes the bundled model on so many ranks and compares every output's sums with those of the run without mpirun.
set -euo pipefail
program=$1 ranks=$2 folder=$3
model=tests/models/tiny-llama
options=(--bits 4 --group-size 64 --calibration configs/calibration/corpus-calibration.txt --nsamples 24 --seqlen 64
         --unit-samples 2 --format "gptq,dense,gguf:q4_0" --quiet)
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
mkdir -p "$folder"

# The sums of all outputs of a run, a file each.
sums() { (cd "$1" && cat ./*/SHA256SUMS); }

same() {  # NAME REFERENCE
  diff <(sums "$folder/$2") <(sums "$folder/$1") || { echo "$1 differs from $2"; exit 1; }
  rm -rf "${folder:?}/$1" "$folder/$1.work"
}

if [ "$ranks" = reference ]; then
  rm -rf "${folder:?}"/*
  "$program" quantize $model "${options[@]}" --threads 1 --output "$folder/reference"
  "$program" quantize $model "${options[@]}" --threads 1 --propagate original --output "$folder/original"
  if diff -q <(sums "$folder/reference") <(sums "$folder/original") >/dev/null; then echo "propagation changes nothing"; exit 1; fi
  status=0
  "$program" quantize $model "${options[@]}" --threads 2 --compute bf16 --output "$folder/bf16" || status=$?
  if [ $status -eq 2 ]; then echo "NOT TESTED: --compute bf16, which this machine does not have"; exit 0; fi
  [ $status -eq 0 ] || exit 1
  if diff -q <(sums "$folder/reference") <(sums "$folder/bf16") >/dev/null; then echo "bf16 changes nothing"; exit 1; fi
  exit 0
fi

"${mpirun[@]}" -n "$ranks" "$program" quantize $model "${options[@]}" --threads 1 --output "$folder/sequential-$ranks"
same "sequential-$ranks" reference
"${mpirun[@]}" -n "$ranks" "$program" quantize $model "${options[@]}" --threads 2 --output "$folder/threads-$ranks"
same "threads-$ranks" reference
if [ -d "$folder/bf16" ]; then
  "${mpirun[@]}" -n "$ranks" "$program" quantize $model "${options[@]}" --threads 1 --compute bf16 --output "$folder/bf16-$ranks"
  same "bf16-$ranks" bf16
fi
for stages in 2 3 4; do
  [ $((ranks % stages)) -eq 0 ] || continue
  "${mpirun[@]}" -n "$ranks" "$program" quantize $model "${options[@]}" --threads 1 --schedule staged --stages $stages \
    --output "$folder/staged-$ranks-$stages"
  same "staged-$ranks-$stages" original
  "${mpirun[@]}" -n "$ranks" "$program" quantize $model "${options[@]}" --threads 1 --schedule staged --stages $stages --propagate gptq \
    --output "$folder/serial-$ranks-$stages"
  same "serial-$ranks-$stages" reference
done
