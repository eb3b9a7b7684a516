#!/usr/bin/env bash
# verify.sh PROGRAM FOLDER: outputs of quantize are whole on any number of ranks; a changed byte, a lost file and a NaN are found.
set -euo pipefail
program=$1 folder=$2
model=tests/models/tiny-llama
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
here=$(dirname "$0")
rm -rf "$folder"
mkdir -p "$folder"
fail() { echo "FAIL $*"; exit 1; }

"$program" quantize $model --method rtn --group-size 64 --no-sym --format gptq,compressed-tensors,gguf:q4_0,dense --output "$folder/out" --quiet
for format in gptq compressed-tensors gguf-q4_0 dense; do
  output=$folder/out/$format
  "$program" verify "$output" --against $model --json >"$folder/one.json" || fail "$format is not whole"
  "${mpirun[@]}" -n 3 "$program" verify "$output" --against $model --json >"$folder/three.json" || fail "$format on three ranks"
  cmp "$folder/one.json" "$folder/three.json" || fail "$format: ranks change the result"
  python3 - "$folder/one.json" <<'PYTHON' || fail "$format: errors"
import json, sys

result = json.load(open(sys.argv[1]))
errors = result["relative_errors"]
assert result["ok"] and len(errors) == 57 and max(errors.values()) < 0.2, result
assert errors["model.norm.weight"] == 0 and errors["model.layers.0.mlp.up_proj.weight"] > 0.01, errors
PYTHON
  "$program" inspect "$output" --tensors >"$folder/inspect.txt"
  grep -q 'bits a weight' "$folder/inspect.txt" && grep -q 'errors by layer' "$folder/inspect.txt" || fail "inspect of $format"
done

# A rotated output is compared with the rotated original, which the plain one is far from.
tied=tests/models/tiny-llama3
"$program" quantize $tied --method rtn --group-size 32 --transform rotate --format gptq,gguf:q4_0 --output "$folder/rotated" --quiet
for format in gptq gguf-q4_0; do
  "$program" verify "$folder/rotated/$format" --against $tied --json >"$folder/rotated.json" || fail "$format is not whole when rotated"
  "$program" verify "$folder/rotated/$format" --against "$folder/rotated/gptq" --json >"$folder/same.json"
  python3 -c 'import json, sys; sys.exit(max(json.load(open(sys.argv[1]))["relative_errors"].values()) > 0.3)' "$folder/same.json" ||
    fail "$format: compared with another output of its run"
  if [ "$format" != gptq ]; then  # the file says it itself
    mkdir "$folder/alone"
    cp "$folder/rotated/$format"/*.gguf "$folder/alone/file.gguf"
    cp "$folder/rotated/$format/config.json" "$folder/alone"
    "$program" verify "$folder/alone/file.gguf" --against $tied --json >"$folder/rotated.json"
  fi
  cp -r "$folder/rotated/gptq" "$folder/says-nothing"
  rm "$folder/says-nothing/SHA256SUMS" "$folder/says-nothing/mpiquant.json"
  "$program" verify "$folder/says-nothing" --against $tied --json >"$folder/plain.json"
  rm -r "$folder/says-nothing"
  python3 - "$folder/rotated.json" "$folder/plain.json" <<'PYTHON' || fail "$format: errors when rotated"
import json, sys

rotated, plain = (json.load(open(path))["relative_errors"] for path in sys.argv[1:])
assert max(rotated.values()) < 0.2 and rotated["model.norm.weight"] == 0 and "lm_head.weight" in rotated, rotated
assert plain["model.layers.0.mlp.up_proj.weight"] > 1, plain
PYTHON
done

# corrupt NAME LINES PATTERN: exit code 4 on two ranks, so many problems, one of them this.
corrupt() {
  local status=0 out
  out=$("${mpirun[@]}" -n 2 "$program" verify "$folder/bad" --quiet 2>"$folder/errors") || status=$?
  [ "$status" -eq 4 ] || { cat "$folder/errors"; fail "$1: exit code $status"; }
  [ "$(grep -c '^problem: ' <<<"$out")" -eq "$2" ] || { echo "$out"; fail "$1: not $2 problems"; }
  grep -qE "^problem: .*$3" <<<"$out" || { echo "$out"; fail "$1: no $3"; }
  echo "ok   $1"
}
copy() { rm -rf "$folder/bad"; cp -r "$folder/out/gptq" "$folder/bad"; }
copy; printf 'x' | dd of="$folder/bad/model.safetensors" bs=1 seek=3000000 conv=notrunc status=none
corrupt "a changed byte" 1 'model.safetensors: content differs'
copy; rm "$folder/bad/config.json" "$folder/bad/tokenizer.json"
corrupt "lost files" 3 'config.json: missing'
copy; truncate -s 2000000 "$folder/bad/model.safetensors"
corrupt "a truncated file" 2 'truncated'
copy; rm "$folder/bad/SHA256SUMS"
python3 "$here/damage.py" "$folder/bad/model.safetensors" 'i = at("model.layers.2.mlp.up_proj.scales", 1 * 768 + 9); d[i:i + 2] = b"\x00\x7e"'
corrupt "a NaN among the scales" 1 'model.layers.2.mlp.up_proj.weight holds nan at row 9, column 64'
copy; rm "$folder/bad/SHA256SUMS"; sed -i 's/"intermediate_size": 768/"intermediate_size": 640/' "$folder/bad/config.json"
corrupt "another configuration" 18 'config.json calls for \[640, 256\]'

work=$folder/out.work
"$program" report "$work" --html "$folder/report.html" --quiet >"$folder/report.txt"
grep -q 'peak_memory' "$folder/report.txt" && grep -q '<svg' "$folder/report.html" || fail "report"
rm -rf "$folder"
