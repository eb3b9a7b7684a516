#!/usr/bin/env bash
# family.sh PROGRAM FOLDER
# Two widths of GPTQ and a GGUF file from one run, against runs of each alone: the same bytes, on 1 and 2 ranks. The first output is
# the one that is propagated; with --propagate original it holds for all.
set -euo pipefail
program=$1 folder=$2
model=tests/models/tiny-llama
common=(--calibration configs/calibration/corpus-calibration.txt --nsamples 16 --seqlen 64 --unit-samples 2 --threads 1 --quiet)
family=(--group-size 64 --format 'gptq[bits=3,group_size=32,rule=[*.down_proj:bits=8,sym=false],name=small],gptq[mse=true],gguf:q4_0')
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
failures=0
rm -rf "${folder:?}"
mkdir -p "$folder"

quantize() { "$program" quantize $model "${common[@]}" "$@"; }
same() {  # NAME ONE OTHER
  if diff "$folder/$2/SHA256SUMS" "$folder/$3/SHA256SUMS"; then echo "ok   $1"; else echo "FAIL $1: $2 and $3 differ"; failures=$((failures + 1)); fi
}
differ() {
  if diff -q "$folder/$2/SHA256SUMS" "$folder/$3/SHA256SUMS" >/dev/null; then echo "FAIL $1"; failures=$((failures + 1)); else echo "ok   $1"; fi
}

small=(--bits 3 --group-size 32 --rule '*.down_proj:bits=8,sym=false' --format 'gptq[name=small]')
for propagate in small original; do
  quantize "${family[@]}" --propagate $propagate --output "$folder/$propagate"
  "${mpirun[@]}" -n 2 "$program" quantize $model "${common[@]}" "${family[@]}" --propagate $propagate --output "$folder/$propagate-2"
  quantize "${small[@]}" --propagate $propagate --output "$folder/$propagate-small"
  same "propagate $propagate: small" $propagate/small $propagate-small
  for output in small gptq gguf-q4_0; do same "propagate $propagate: $output on two ranks" $propagate-2/$output $propagate/$output; done
done
quantize --group-size 64 --mse --format gptq --propagate original --output "$folder/original-gptq"
quantize --group-size 64 --format gguf:q4_0 --propagate original --output "$folder/original-gguf"
same "propagate original: gptq" original/gptq original-gptq
same "propagate original: gguf:q4_0" original/gguf-q4_0 original-gguf
# What these comparisons would not see if they compared nothing.
differ "what is propagated matters" small/small original/small
differ "the first output is propagated, not the second" small/gptq original/gptq

# By default the first is propagated.
quantize "${family[@]}" --output "$folder/default"
same "the first is propagated" default/small small-small

# A recipe file says the same.
cat >"$folder/family.yaml" <<'YAML'
version: 1
group_size: 64
outputs:
  - {container: gptq, name: small, bits: 3, group_size: 32, rules: [{pattern: "*.down_proj", bits: 8, sym: false}]}
  - {container: gptq, mse: true}
  - {container: gguf, codec: q4_0}
YAML
quantize --config "$folder/family.yaml" --output "$folder/yaml"
for output in small gptq gguf-q4_0; do same "recipe file: $output" yaml/$output default/$output; done

# Kept Hessians of original weights serve the whole family.
quantize --group-size 64 --propagate original --keep-hessians --output "$folder/kept"
quantize "${family[@]}" --hessians "$folder/kept.work/hessians" --output "$folder/again"
for output in small gptq gguf-q4_0; do same "kept Hessians: $output" again/$output original/$output; done

# RTN, where rows of GGUF files are streamed beside each other; alone each type has the same bytes.
rtn=(--method rtn --bits 8)
"$program" quantize $model "${rtn[@]}" --quiet --format 'gguf:q8_0,gguf:q4_0[rule=*.down_proj:dense,name=q4]' --output "$folder/rows"
"$program" quantize $model "${rtn[@]}" --quiet --format gguf:q8_0 --output "$folder/rows-8"
"$program" quantize $model "${rtn[@]}" --quiet --format 'gguf:q8_0,gptq,gguf:q4_0[rule=*.down_proj:dense,name=q4]' --output "$folder/whole"
for output in gguf-q8_0 q4; do same "rtn by rows: $output" rows/$output whole/$output; done
same "rtn by rows: gguf:q8_0 alone" rows/gguf-q8_0 rows-8

# The other commands read them; each repository tells its own values.
for output in small gptq gguf-q4_0; do
  "$program" verify "$folder/small/$output" --against $model >/dev/null || { echo "FAIL verify $output"; failures=$((failures + 1)); }
done
"$program" inspect "$folder/small/small" >"$folder/inspect.txt"
grep -q "^  bits: 3$" "$folder/inspect.txt" || { echo "FAIL inspect: $(cat "$folder/inspect.txt")"; failures=$((failures + 1)); }
"$program" evaluate "$folder/small/small" --reference $model --text configs/calibration/corpus-evaluation.txt --window 32 --max-windows 2 --json --quiet >"$folder/evaluate.json"
python3 - "$folder" <<'PYTHON' || failures=$((failures + 1))
import json, sys
folder = sys.argv[1]
about = {o: json.load(open(f"{folder}/small/{o}/mpiquant.json")) for o in ("small", "gptq", "gguf-q4_0")}
values = {o: tuple(a["recipe"][k] for k in ("bits", "group_size", "mse", "propagate")) for o, a in about.items()}
assert values == {"small": (3, 32, False, "small"), "gptq": (4, 64, True, "small"), "gguf-q4_0": (4, 64, False, "small")}, values
assert [r["bits"] for r in about["small"]["recipe"]["rules"]] == [8] and about["gptq"]["recipe"]["rules"] == []
config = json.load(open(f"{folder}/small/small/quantize_config.json"))
assert (config["bits"], config["group_size"]) == (3, 32), config
report = json.load(open(f"{folder}/small.work/report.json"))
assert [o["label"] for o in report["outputs"]] == ["small", "gptq", "gguf:q4_0"]
assert [o["recipe"]["bits"] for o in report["outputs"]] == [3, 4, 4]
assert all(o["recipe"] == about[o["label"].replace(":", "-")]["recipe"] for o in report["outputs"])
# What a run does is what the plan counts: three codecs of each linear.
report = json.load(open(f"{folder}/small-2.work/report.json"))
for rank, plan in zip(report["ranks"], report["plan"], strict=True):
    for field in ("rows_swept", "bytes_written", "hessian_bytes", "tokens"):
        assert rank[field] == plan[field], (field, rank[field], plan[field])
assert sum(r["rows_swept"] for r in report["ranks"]) == 3 * sum(
    r["rows_swept"] for r in json.load(open(f"{folder}/small-small.work/report.json"))["ranks"])
assert 0 < json.load(open(f"{folder}/evaluate.json"))["kl_divergence"] < 1
PYTHON
if [ "$failures" -ne 0 ]; then echo "$failures failures"; exit 1; fi
