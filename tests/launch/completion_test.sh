#!/usr/bin/env bash
# completion_test.sh zsh|fish PROGRAM FOLDER: what Tab offers in a real shell; run from the project's root. Exit code 77: no such shell.
set -uo pipefail
shell=$1 program=$2 folder=$3
command -v "$shell" >/dev/null || { echo "NOT TESTED: $shell is not installed (scripts/dependencies.sh --tests)"; exit 77; }
export MPIQUANT_HOME=$PWD HOME=$folder/home XDG_CONFIG_HOME=$folder/home XDG_DATA_HOME=$folder/home  # where shells write on their first start
rm -rf "$folder"
mkdir -p "$folder/home" "$folder/list" "$folder/model-a" "$folder/model-b"
touch "$folder/model.txt"
failures=0
script=$folder/completion.$shell
"$program" completion "$shell" >"$script"
"$shell" -n "$script" || { echo "FAIL $shell cannot read its completion"; failures=1; }

offers() {  # LINE: the words offered, without folders and descriptions, on one line
  if [ "$shell" = zsh ]; then timeout 60 tests/launch/zsh_complete.zsh "$script" "$1"
  else timeout 60 fish --no-config -c "source '$script'; complete -C '$1'" | cut -f1 | sed 's/^--[a-z-]*=//'; fi |
    sed 's:/$::; s:.*/::' | sort -u | tr '\n' ' ' | sed 's/ $//'
}
completes() {  # NAME EXPECTED LINE
  local got
  got=$(offers "$3")
  if [ "$got" = "$2" ]; then echo "ok   $1"; else echo "FAIL $1: \"$got\" instead of \"$2\""; failures=$((failures + 1)); fi
}
completes "command" "quantize" "mpiquant quan"
completes "option" "--group-size" "mpiquant quantize --group"
completes "switch" "--no-sym" "mpiquant quantize --no-sy"
completes "values" "static" "mpiquant quantize --act-order st"
completes "values after =" "static" "mpiquant quantize --act-order=st"
completes "all values" "2 3 4 8" "mpiquant quantize --bits "
completes "values of restart" "never" "mpiquant quantize --restart n"
completes "recipes" "gptq-4bit-g128" "mpiquant quantize --config gptq-4bit-g1"
completes "files beside recipes" "model-a model-b model.txt" "mpiquant quantize --config $folder/mod"
completes "no values of a number" "" "mpiquant quantize --seed "
completes "folders only" "model-a model-b" "mpiquant quantize --output $folder/mod"
completes "folders of a short option" "model-a model-b" "mpiquant quantize -o $folder/mod"
completes "folders of Hessians" "model-a model-b" "mpiquant quantize --hessians $folder/mod"
completes "models" "model-a model-b model.txt" "mpiquant quantize $folder/mod"
completes "lists" "formats" "mpiquant list fo"
completes "options of the command, not of a word like one" "--act-order" "mpiquant quantize list --act"
completes "no option of another command" "" "mpiquant list --act"
completes "options of the program" "--version" "mpiquant --ver"
if [ "$failures" -ne 0 ]; then echo "$failures failures"; exit 1; fi
