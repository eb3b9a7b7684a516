# shellcheck shell=bash disable=SC2034
# Sourced by refusals_*.sh PROGRAM FOLDER: bad input gets one line with problem and suggestion, the documented exit code on every
# rank, and leaves nothing behind.
set -euo pipefail
program=$1 folder=$2
here=$(dirname "${BASH_SOURCE[0]}")
source_model=tests/models/tiny-llama
text=configs/calibration/corpus-calibration.txt
shard1=model-00001-of-00002.safetensors shard2=model-00002-of-00002.safetensors
rm -rf "$folder"
mkdir -p "$folder/run"
failures=0
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
# Every rank notes its exit code and succeeds, so that the launcher ends none of them.
cat >"$folder/rank.sh" <<'RANK'
#!/bin/sh
codes=$1; shift
"$@"
echo $? >"$codes/$OMPI_COMM_WORLD_RANK"
RANK
chmod +x "$folder/rank.sh"
folder=$(cd "$folder" && pwd)
rank=("$folder/rank.sh" "$folder/codes")
# What quantize is given; the output would be made in $folder/run.
quantize=(quantize "$folder/model" --calibration "$text" --nsamples 8 --seqlen 64 --output "$folder/run/out" --quiet)

copy() { rm -rf "$folder/model"; cp -r "$source_model" "$folder/model"; }
damage() { python3 "$here/damage.py" "$folder/model/$1" "$2"; }
config() { sed -i "$1" "$folder/model/config.json"; }

# judge NAME CODE PROBLEM SUGGESTION OUTPUT BEFORE: after a run on two ranks.
judge() {
  local name=$1 code=$2 problem=$3 suggestion=$4 out=$5 before=$6 line r
  line=$(grep -aE "mpiquant: error: " <<<"$out" || true)
  for r in 0 1; do
    if [ "$(cat "$folder/codes/$r" 2>/dev/null)" != "$code" ]; then
      echo "FAIL $name: exit code '$(cat "$folder/codes/$r" 2>/dev/null)' of rank $r instead of $code"; echo "$out"
      failures=$((failures + 1)); return
    fi
  done
  if [ "$(grep -ac . <<<"$line")" -ne 1 ]; then
    echo "FAIL $name: not one line of error"; echo "$out"; failures=$((failures + 1))
  elif ! grep -aqE -- "$problem" <<<"$line"; then
    echo "FAIL $name: no \"$problem\" in: $line"; failures=$((failures + 1))
  elif ! grep -aqE -- "$suggestion" <<<"$line"; then
    echo "FAIL $name: no \"$suggestion\" in: $line"; failures=$((failures + 1))
  elif [ "$before" != "$(ls -A "$folder/run")" ]; then
    echo "FAIL $name: something is left behind:"; ls -lA "$folder/run"; failures=$((failures + 1))
  else
    echo "ok   $name: ${line#*error: }"
  fi
}

# refused NAME CODE PROBLEM SUGGESTION ARGUMENTS…: the program on two ranks.
refused() {
  local name=$1 code=$2 problem=$3 suggestion=$4 out before
  shift 4
  rm -rf "$folder/codes"; mkdir "$folder/codes"
  before=$(ls -A "$folder/run")
  out=$("${mpirun[@]}" -n 2 "${rank[@]}" "$program" "$@" 2>&1) || true
  judge "$name" "$code" "$problem" "$suggestion" "$out" "$before"
}

# refused_apart NAME CODE PROBLEM SUGGESTION COMMAND… : COMMAND…: the second rank has a command of its own.
refused_apart() {
  local name=$1 code=$2 problem=$3 suggestion=$4 out before first=()
  shift 4
  while [ "$1" != : ]; do first+=("$1"); shift; done
  shift
  rm -rf "$folder/codes"; mkdir "$folder/codes"
  before=$(ls -A "$folder/run")
  out=$("${mpirun[@]}" -n 1 "${rank[@]}" "${first[@]}" : -n 1 "${rank[@]}" "$@" 2>&1) || true
  judge "$name" "$code" "$problem" "$suggestion" "$out" "$before"
}

finish() {
  if [ "$failures" -ne 0 ]; then echo "$failures failures"; exit 1; fi
  rm -rf "$folder"
}
