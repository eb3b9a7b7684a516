#!/usr/bin/env bash
# cli_test.sh PROGRAM FOLDER: the command line as people and shells meet it; run from the project's root.
set -uo pipefail
program=$1 folder=$2
model=tests/models/tiny-llama
text=configs/calibration/corpus-calibration.txt
export MPIQUANT_HOME=$PWD
rm -rf "$folder"
mkdir -p "$folder"
failures=0
fail() { echo "FAIL $1"; failures=$((failures + 1)); }
ok() { echo "ok   $1"; }
# expect NAME CODE PATTERN ARGUMENTS…: exit code, and a line of the output that matches
expect() {
  local name=$1 code=$2 pattern=$3 out status=0
  shift 3
  out=$("$program" "$@" 2>&1) || status=$?
  if [ "$status" -ne "$code" ]; then fail "$name: exit code $status instead of $code: $out"
  elif ! grep -qE -- "$pattern" <<<"$out"; then fail "$name: no \"$pattern\" in: $out"
  else ok "$name"; fi
}

# Pages: every command has one with usage, an example and the exit codes.
commands=$("$program" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 6 ] || fail "commands are listed: $commands"
for command in $commands; do
  page=$("$program" "$command" --help) || fail "$command --help: exit code $?"
  for part in "^usage: mpiquant $command" "^Examples:" "^Exit codes" "^ *-h, --help"; do
    grep -qE -- "$part" <<<"$page" || fail "$command --help has no \"$part\""
  done
  [ "$(awk '{ if (length($0) > 100) print }' <<<"$page" | grep -vc 'mpiquant')" -eq 0 ] || fail "$command --help is too wide"
done
ok "pages"
page=$("$program" quantize --help)
for part in "--\[no-\]sym" "-o, --output DIR" "default: 128" "2, 3, 4, 8; default: 4" "^Calibration:" "^Gates" "gptq-4bit-g128"; do
  grep -qE -- "$part" <<<"$page" || fail "quantize --help has no \"$part\""
done

# Refusals with the nearest name.
expect "unknown command" 2 'did you mean "quantize"\?' quantise
expect "unknown option" 2 '--bit is no option of mpiquant quantize, did you mean --bits\?' quantize --bit 4
expect "unknown option, nothing near" 2 '--colour-scheme is no option of mpiquant quantize \(see' quantize --colour-scheme x
expect "other command's option" 2 'no option of mpiquant evaluate' evaluate --group-size 64
expect "five bits" 2 'bits = 5 \(' quantize $model --output "$folder/x" --bits 5
expect "word for bits" 2 '--bits = "four" is not a whole number' quantize $model --output "$folder/x" --bits four
expect "unknown method" 2 'did you mean "gptq"\?' quantize $model --output "$folder/x" --method gtpq
expect "unknown order" 2 '--act-order = "statik" is unknown .* did you mean "static"\?' quantize $model --output "$folder/x" --act-order statik
expect "unknown format" 2 'did you mean "gptq"\?' quantize $model --output "$folder/x" --format gpqt
expect "unknown type" 2 'did you mean "q4_0"\?' quantize $model --output "$folder/x" --format gguf:q40
expect "impossible group" 2 'use --group-size 256' quantize $model --output "$folder/x" --method rtn --group-size 512
expect "option given twice" 2 'bits' quantize $model --output "$folder/x" --bits 4 --bits 3
expect "both forms of a switch" 2 'contradict' quantize $model --output "$folder/x" --sym --no-sym
expect "two models" 2 'more arguments than' quantize $model $model --output "$folder/x"
expect "no model" 2 'MODEL is missing' quantize --output "$folder/x"
expect "no output" 2 'output is missing' quantize $model
expect "quiet and verbose" 2 'contradict' quantize $model --output "$folder/x" --quiet --verbose
expect "unknown recipe" 2 'did you mean "gptq-4bit-g128"\?' quantize $model --output "$folder/x" --config gptq-4bit-g12
printf 'version: 1\nbits: 4\ngrup_size: 64\n' >"$folder/bad.yaml"
expect "unknown key" 2 'bad.yaml:3:1: unknown key "grup_size" did you mean "group_size"' quantize $model --output "$folder/x" --config "$folder/bad.yaml"
printf 'version: 1\ngates: {max_kl: 1}\n' >"$folder/there.yaml"
expect "gate of an evaluation" 2 'there.yaml:2:9: gates.max_kl cannot be checked' quantize $model --output "$folder/x" --config "$folder/there.yaml"
expect "unknown list" 2 'did you mean "methods"\?' list method
expect "unknown shell" 2 'known: bash, zsh, fish' completion tcsh
[ -e "$folder/x" ] && fail "a refusal left something behind"

# Lists, from the tables themselves.
expect "list methods" 0 '^gptq +needed' list methods
expect "list codecs" 0 '^q4_0 ' list codecs
expect "list formats" 0 '^gguf:q4_0 ' list formats
expect "list architectures" 0 '^MistralForCausalLM +mistral' list architectures
expect "list recipes" 0 '^gptq-4bit-g128 +GPTQ' list recipes
for what in methods codecs formats architectures recipes; do
  "$program" list $what --json | python3 -c 'import json, sys; rows = json.load(sys.stdin); assert rows and all(all(r.values()) for r in rows)' || fail "list $what --json"
done

# A dry run checks all, writes nothing, and knows the sizes.
quick=(--nsamples 4 --seqlen 32 --calibration "$text" --threads 1)
"$program" quantize $model "${quick[@]}" --config gptq-and-gguf --token-store "$folder/tokens.h5" --output "$folder/out" --dry-run --json >"$folder/plan.json" || fail "dry run: exit code $?"
[ -e "$folder/out" ] || [ -e "$folder/out.work" ] || [ -e "$folder/tokens.h5" ] && fail "a dry run wrote something"
expect "dry run for people" 0 'model-q4_0.gguf|\.gguf' quantize $model "${quick[@]}" --format gguf --output "$folder/out" --dry-run
expect "dry run checks groups" 2 'group-size' quantize $model "${quick[@]}" --group-size 512 --output "$folder/out" --dry-run
mkdir "$folder/there"
expect "dry run checks the output" 2 'there' quantize $model "${quick[@]}" --output "$folder/there" --dry-run
"$program" quantize $model "${quick[@]}" --config gptq-and-gguf --output "$folder/out" --quiet --json >"$folder/report.json" || fail "run of a recipe: exit code $?"
python3 - "$folder" <<'PYTHON' || fail "sizes or report"
import json, os, sys
folder = sys.argv[1]
plan = json.load(open(f"{folder}/plan.json"))
assert plan["calibration"] == {"samples": 4, "tokens": 128}, plan["calibration"]
assert len(plan["memory"]) == 1 and plan["memory"][0] > 0
files = [(o["format"].replace(":", "-"), f) for o in plan["outputs"] for f in o["files"]]
assert len(files) >= 2, files
for output, file in files:
    size = os.path.getsize(f"{folder}/out/{output}/{file['path']}")
    assert size == file["bytes"], (output, file, size)
assert json.load(open(f"{folder}/report.json"))["seconds"] > 0
PYTHON

# A recipe gives the bytes of its options; the command line is on top of it.
sums() { (cd "$1" && cat SHA256SUMS); }
cat >"$folder/recipe.yaml" <<'YAML'
version: 1
method: rtn
bits: 3
group_size: 64
sym: false
rules: [{pattern: "*.down_proj", bits: 8}]
lm_head: true
YAML
"$program" quantize $model --config "$folder/recipe.yaml" --output "$folder/a" --quiet || fail "recipe"
"$program" quantize $model --method rtn --bits 3 --group-size 64 --no-sym --rule '*.down_proj:bits=8' --lm-head --output "$folder/b" --quiet || fail "options"
diff <(sums "$folder/a") <(sums "$folder/b") >/dev/null || fail "a recipe and its options differ"
"$program" quantize $model --config "$folder/recipe.yaml" --bits 4 --rule '*.up_proj:dense' --output "$folder/c" --quiet || fail "recipe with options"
"$program" quantize $model --method rtn --bits 4 --group-size 64 --no-sym --rule '*.up_proj:dense' --lm-head --output "$folder/d" --quiet || fail "options"
diff <(sums "$folder/c") <(sums "$folder/d") >/dev/null || fail "the command line is not on top of the recipe"
diff <(sums "$folder/a") <(sums "$folder/c") >/dev/null && fail "the options change nothing"

# Completion in bash.
complete_words() {  # words of a command line, the last one to be completed
  # shellcheck disable=SC1090
  source <("$program" completion bash)
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _mpiquant 2>/dev/null
  echo "${COMPREPLY[*]}"
}
completes() {  # NAME EXPECTED WORDS…
  local name=$1 expected=$2 got
  shift 2
  got=$(complete_words "$@")
  if [ "$got" = "$expected" ]; then ok "completion: $name"; else fail "completion: $name: \"$got\" instead of \"$expected\""; fi
}
completes "command" "quantize" mpiquant quan
completes "option" "--group-size" mpiquant quantize --group
completes "switch" "--no-sym" mpiquant quantize --no-sy
completes "values" "static" mpiquant quantize --act-order st
completes "values after =" "2 3 4 8" mpiquant quantize --bits = ""
completes "recipes" "gptq-4bit-g128" mpiquant quantize --config gptq-4bit-g1
completes "no values of a number" "" mpiquant quantize --seed ""
completes "folders only" "$folder/there" mpiquant quantize --output "$folder/the"
completes "files" "$folder/recipe.yaml" mpiquant quantize --calibration "$folder/rec"
completes "lists" "formats" mpiquant list fo
bash -n <("$program" completion bash) || fail "bash cannot read its completion"

# The manual page of the documents is what the program prints, and groff has nothing to say about it.
diff docs/mpiquant.1 <("$program" man) >/dev/null || fail "docs/mpiquant.1 is not what 'mpiquant man' prints; make it again"
if command -v groff >/dev/null; then
  warnings=$("$program" man | groff -man -Tutf8 -ww -z 2>&1)
  [ -z "$warnings" ] || fail "groff: $warnings"
fi

# On a terminal warnings have a colour, unless NO_COLOR is set; in a file never.
yellow=$'\033[33m' escape=$'\033['
warn="$program quantize $model --nsamples 1 --seqlen 16 --output $folder/e --dry-run --threads 1"
if command -v script >/dev/null; then
  [[ $(script -qec "$warn" /dev/null </dev/null) == *"$yellow"* ]] || fail "no colour on a terminal"
  [[ $(NO_COLOR=1 script -qec "$warn" /dev/null </dev/null) == *"$escape"* ]] && fail "colour with NO_COLOR"
fi
[[ $($warn 2>&1) == *"$escape"* ]] && fail "colour in a file"

if [ "$failures" -ne 0 ]; then echo "$failures failures"; exit 1; fi
