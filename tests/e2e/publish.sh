#!/usr/bin/env bash
# publish.sh PROGRAM FOLDER: outputs are uploaded when all are whole, and nothing is when one is not, an evaluation is missing or the
# token is not safe. A stand-in for the hf command line notes what it is asked for.
set -euo pipefail
program=$1 folder=$2
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/home" "$folder/empty"
# What ranks say last may be lost on its way through mpirun, which ends the job by then: they write it themselves.
own_log=(bash -c 'exec "$0" "$@" 2>>"$LOG"')
export LOG=$folder/said
fail() { echo "FAIL $*"; exit 1; }
# refused CODE TEXT COMMAND...: it ends with the code, says the text, and uploads nothing
refused() {
  local code=0 expected=$1 text=$2
  shift 2
  rm -f "$folder/uploads" "$LOG"
  "$@" >>"$LOG" 2>&1 || code=$?
  [ "$code" = "$expected" ] || { cat "$folder/said"; fail "code $code, not $expected: $*"; }
  grep -q -- "$text" "$folder/said" || { cat "$folder/said"; fail "it does not say '$text': $*"; }
  [ ! -e "$folder/uploads" ] || fail "it uploaded: $*"
}

cat >"$folder/bin/hf" <<END
#!/bin/sh
echo "\$* offline=\${HF_HUB_OFFLINE:-no}\${TRANSFORMERS_OFFLINE:-} token=\${HF_TOKEN:-file}" >>"$folder/uploads"
echo "hf was here"
case "\$*" in *broken-gptq*) exit 9 ;; *slow*) exec sleep 60 ;; esac
END
chmod +x "$folder/bin/hf"
(umask 077 && echo secret >"$folder/home/token")
export HF_HOME=$folder/home PATH=$folder/bin:$PATH HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
unset HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH SLURM_JOB_ID PBS_JOBID LSB_JOBID

"$program" quantize tests/models/tiny-llama --method rtn --group-size 64 --format gptq,gguf:q8_0 --output "$folder/out" --quiet
"$program" publish "$folder/out" >"$folder/said" || fail "verification alone"
[ "$(grep -c 'all is well' "$folder/said")" = 2 ] || { cat "$folder/said"; fail "both outputs are verified"; }
[ ! -e "$folder/uploads" ] || fail "it uploaded without a repository"
"$program" publish "$folder/out" --repo org/tiny --dry-run | grep -q 'out/gptq would go to org/tiny-gptq' || fail "dry run"
[ ! -e "$folder/uploads" ] || fail "a dry run uploaded"

"${mpirun[@]}" -n 2 "$program" publish "$folder/out" --repo org/tiny --private --revision next --message 'a b' --json >"$folder/json" 2>"$folder/said" ||
  { cat "$folder/said"; fail "two outputs"; }
expected="upload org/tiny-gguf-q8_0 $folder/out/gguf-q8_0 . --repo-type model --private --revision next --commit-message a b offline=no token=file
upload org/tiny-gptq $folder/out/gptq . --repo-type model --private --revision next --commit-message a b offline=no token=file"
[ "$(sort "$folder/uploads")" = "$(sort <<<"$expected")" ] || { cat "$folder/uploads"; fail "the words of the uploads"; }
python3 -c '
import json, sys
outputs = json.load(open(sys.argv[1]))["outputs"]
assert sorted(o["repository"] for o in outputs) == ["org/tiny-gguf-q8_0", "org/tiny-gptq"], outputs
assert all(o["uploaded"] and o["verification"]["ok"] for o in outputs), outputs
' "$folder/json" || fail "the JSON"
grep -q 'hf was here' "$folder/said" || fail "what hf says is not shown"
rm "$folder/uploads"
"$program" publish "$folder/out/gptq" --repo org/tiny >/dev/null 2>&1 || fail "one output"
[ "$(cat "$folder/uploads")" = "upload org/tiny $folder/out/gptq . --repo-type model offline=no token=file" ] || fail "one output goes to the name itself"

publish=("$program" publish "$folder/out")
refused 2 'OUTPUT is missing' "$program" publish
refused 2 'is no repository' "${publish[@]}" --repo tiny
refused 2 'is no repository' "${publish[@]}" --repo 'org/../x'
refused 2 '--repo is empty' "${publish[@]}" --repo ''
refused 2 '--message without --repo' "${publish[@]}" --message text
refused 6 'is no folder' "$program" publish "$folder/nothing" --repo org/tiny
refused 6 'no whole output' "$program" publish "$folder/empty" --repo org/tiny
mkdir "$folder/results"
echo '{}' >"$folder/results/gptq.json"
refused 6 'results/gguf-q8_0.json is not there' "${publish[@]}" --repo org/tiny --results "$folder/results"
echo '{}' >"$folder/results/gguf-q8_0.json"
"${publish[@]}" --repo org/tiny --results "$folder/results" >/dev/null 2>&1 || fail "outputs that were evaluated"
refused 2 'pip install huggingface_hub' env PATH="$folder/empty" "${publish[@]}" --repo org/tiny
for name in HF_TOKEN HUGGING_FACE_HUB_TOKEN; do
  refused 2 "$name is set in a batch job" env "$name=x" SLURM_JOB_ID=1 "${publish[@]}" --repo org/tiny
done
refused 2 'token is not there' env HF_TOKEN_PATH="$folder/no/token" "${publish[@]}" --repo org/tiny
chmod 640 "$folder/home/token"
refused 2 'can be read by others' "${publish[@]}" --repo org/tiny
rm -f "$folder/uploads"
env HF_TOKEN=x "$program" publish "$folder/out/gptq/" --repo org/tiny >/dev/null 2>&1 || fail "a token in the environment, outside a job"
[ "$(cat "$folder/uploads")" = "upload org/tiny $folder/out/gptq . --repo-type model offline=no token=x" ] || fail "the token did not reach hf"
chmod 600 "$folder/home/token"

# The second upload fails: the first one is said to be there, and the code comes from all ranks.
code=0
rm -f "$LOG"
"${mpirun[@]}" -n 2 "${own_log[@]}" "${publish[@]}" --repo org/broken --json >"$folder/json" 2>>"$LOG" || code=$?
[ "$code" = 6 ] && grep -q 'failed with code 9' "$folder/said" || { cat "$folder/said"; fail "an upload that fails"; }
python3 -c '
import json, sys
assert {o["repository"]: o["uploaded"] for o in json.load(open(sys.argv[1]))["outputs"]} == {"org/broken-gguf-q8_0": True, "org/broken-gptq": False}
' "$folder/json" || fail "what is there after an upload that failed"
rm "$folder/uploads"
"$program" publish "$folder/out/gptq" --repo org/slow >/dev/null 2>"$folder/said" & job=$!
for _ in $(seq 200); do [ ! -e "$folder/uploads" ] || break; sleep 0.05; done
kill -TERM "$job"
code=0; wait "$job" || code=$?
[ "$code" = 75 ] && grep -q 'stopped while' "$folder/said" || { cat "$folder/said"; fail "a stop gave code $code"; }

# One output is damaged: nothing goes, the whole one neither.
python3 - "$folder/out/gptq/model.safetensors" <<'PYTHON'
import sys

with open(sys.argv[1], "r+b") as file:
    file.seek(-100, 2)
    byte = file.read(1)
    file.seek(-100, 2)
    file.write(bytes([byte[0] ^ 1]))
PYTHON
refused 4 'nothing was uploaded' "${publish[@]}" --repo org/tiny
"${publish[@]}" --repo org/tiny --json >"$folder/json" 2>/dev/null || true
grep -q 'content differs from SHA256SUMS' "$folder/json" || fail "the JSON does not say what is wrong"
cp -r "$folder/out/gguf-q8_0" "$folder/out/.other.partial-0123abcd"
refused 4 'nothing was uploaded' "${publish[@]}" --repo org/tiny
grep -q 'partial' "$folder/said" && fail "an output that is being made is looked at"
refused 4 'nothing was uploaded' "${mpirun[@]}" -n 3 "${own_log[@]}" "${publish[@]}" --repo org/tiny
echo "outputs are published whole or not at all"
