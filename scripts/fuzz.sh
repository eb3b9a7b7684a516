#!/usr/bin/env bash
# Runs the fuzz targets of the parsers under address and undefined-behaviour sanitizers, one after the other.
# usage: scripts/fuzz.sh SECONDSs|RUNS [TARGET…]      scripts/fuzz.sh 10s; scripts/fuzz.sh 1000000 gguf
# FUZZ_SEED=N makes the same inputs each time, from an empty corpus; else they differ.
# What is learned stays in build-asan/corpus; what breaks a parser is left in build-asan/found and belongs, once the parser is
# mended, into tests/fuzz/seeds/TARGET as regression-NAME.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: scripts/fuzz.sh SECONDSs|RUNS [TARGET…]" >&2; exit 2; }
case $1 in
  *[!0-9s]* | s* | "") echo "fuzz.sh: '$1' is neither seconds (10s) nor a number of runs" >&2; exit 2 ;;
  *s) amount=-max_total_time=${1%s} ;;
  *) amount=-runs=$1 ;;
esac
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for seeds in tests/fuzz/seeds/*; do targets+=("${seeds##*/}"); done
fi
cmake --preset asan >/dev/null
cmake --build --preset asan --target "${targets[@]/#/fuzz_}"
status=0
for target in "${targets[@]}"; do
  mkdir -p "build-asan/corpus/$target" "build-asan/found/$target"
  begin=$SECONDS
  if build-asan/bin/fuzz_"$target" "$amount" -seed="${FUZZ_SEED:-0}" -max_len=20000 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 -close_fd_mask=3 \
    -artifact_prefix="build-asan/found/$target/" "build-asan/corpus/$target" "tests/fuzz/seeds/$target" >"build-asan/$target.log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build-asan/$target.log")
    printf 'ok     %-16s %9s runs %5d s\n' "$target" "$runs" $((SECONDS - begin))
  else
    status=1
    printf 'FOUND  %-16s see build-asan/%s.log and build-asan/found/%s\n' "$target" "$target" "$target"
    tail -n 30 "build-asan/$target.log"
  fi
done
exit $status
