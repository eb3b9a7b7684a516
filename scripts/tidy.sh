#!/usr/bin/env bash
# Runs the pinned clang-tidy on the project's sources (.clang-tidy has the checks); exit code 1 if it finds anything.
# usage: scripts/tidy.sh [FILE...]      with the commands of the preset dev, which has one for each file
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/venv.sh lint
cmake --preset dev >/dev/null
if [ $# -eq 0 ]; then
  mapfile -t sources < <(git ls-files -- 'src/*.cc' 'io/*.cc' 'kernels/*.cc' 'launch/*.cc')
  set -- "${sources[@]}"
fi
compiled=()   # an optional part's file that this build leaves out has no compile command
for file in "$@"; do
  grep -qF "/$file\"" build-dev/compile_commands.json && compiled+=("$file")
done
echo "tidy.sh: ${#compiled[@]} files"
printf '%s\0' "${compiled[@]}" | xargs -0 -n 1 -P "$(nproc)" .venv-lint/bin/clang-tidy -p build-dev --quiet 2>/dev/null
