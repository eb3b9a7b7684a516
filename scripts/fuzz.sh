#!/usr/bin/env bash
# Runs the fuzz targets of the parsers under address and undefined-behaviour sanitizers, one after the other.
# usage: scripts/fuzz.sh SECONDSs|RUNS [TARGET…]      scripts/fuzz.sh 10s; scripts/fuzz.sh 1000000 gguf
# What is learned stays in build-fuzz/corpus; what breaks a parser is left in build-fuzz/found and belongs, once the parser is
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
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target "${targets[@]/#/fuzz_}"
status=0
for target in "${targets[@]}"; do
  mkdir -p "build-fuzz/corpus/$target" "build-fuzz/found/$target"
  begin=$SECONDS
  if build-fuzz/bin/fuzz_"$target" "$amount" -max_len=20000 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 -close_fd_mask=3 \
    -artifact_prefix="build-fuzz/found/$target/" "build-fuzz/corpus/$target" "tests/fuzz/seeds/$target" >"build-fuzz/$target.log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build-fuzz/$target.log")
    printf 'ok     %-16s %9s runs %5d s\n' "$target" "$runs" $((SECONDS - begin))
  else
    status=1
    printf 'FOUND  %-16s see build-fuzz/%s.log and build-fuzz/found/%s\n' "$target" "$target" "$target"
    tail -n 30 "build-fuzz/$target.log"
  fi
done
exit $status
