#!/usr/bin/env bash
# Formats the C++ sources with the pinned clang-format, or with --check only says which differ (exit code 1).
# usage: scripts/format.sh [--check]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/venv.sh lint
mode=(-i)
[ "${1:-}" = --check ] && mode=(--dry-run -Werror)
git ls-files -z -- '*.cc' '*.h' '*.cu' '*.cuh' | xargs -0 -r .venv-lint/bin/clang-format "${mode[@]}"
