#!/usr/bin/env bash
# Stands in for launch/local.sh in the test of fleets: what a job does follows from its model's name. Each start of quantize adds a line
# to $FLEET_STARTS. FLEET_END says how the slow ones end once their output is there.
trap 'exit 75' TERM USR2
while [ "$1" != quantize ] && [ "$1" != evaluate ]; do shift; done
if [ "$1" = evaluate ]; then
  echo '{"perplexity": 11.0, "reference_perplexity": 10.0, "kl_divergence": 0.02, "kl_standard_error": 0.001, "top1_agreement": 0.9, "tokens": 5, "nll": 2.4}'
  exit 0
fi
model=$2
for word in "$@"; do
  case $word in --output=*) output=${word#--output=} ;; esac
done
echo "$output" >>"$FLEET_STARTS"
case $(basename "$model") in
  missing)
    echo "mpiquant: error: $model does not exist" >&2
    exit 3
    ;;
  hopeless) exit 6 ;;
  flaky) [ "$(grep -cxF "$output" "$FLEET_STARTS")" -gt 1 ] || exit 6 ;;
  slow) for ((i = 0; i < 20; ++i)); do sleep 0.1; done ;;
esac
rm -rf "$output"
mkdir -p "$output"
head -c 1000 /dev/zero >"$output/model.safetensors"
echo '{"output": "gptq"}' >"$output/mpiquant.json"
echo >"$output/SHA256SUMS"
case ${FLEET_END:-}-$(basename "$model") in
  gone-slow)
    kill -KILL "$PPID"
    sleep 0.1
    ;;
  refused-slow)
    echo "mpiquant: error: $output exists (it would be overwritten) choose another output or give --force" >&2
    exit 2
    ;;
esac
