#!/usr/bin/env bash
# plan, end to end: it is the plan that quantize runs, weights are not needed, memory is bounded by it, what cannot fit is refused.
#   usage: tests/e2e/plan.sh MPIQUANT SOURCE_DIR
set -euo pipefail

program=$1 source=$2
model=$source/tests/models/tiny-llama
export MPIQUANT_HOME=$source
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mpi=(mpirun --bind-to none --oversubscribe)
if [ "$(id -u)" -eq 0 ]; then mpi+=(--allow-run-as-root); fi
options=(--group-size 64 --nsamples 16 --seqlen 128 --threads 1)

fail() {
  echo "plan.sh: $1" >&2
  exit 1
}

# Memory of each rank is that of the run's plan, and what the run takes is 75 to 100 % of it. One rank needs no MPI.
for shape in "1" "2" "3" "2 --schedule staged --stages 2" "1 --method rtn --bits 8 --format gguf:q8_0" "2 --method rtn --format gptq" "2 --no-true-sequential --mse"; do
  read -r ranks rest <<<"$shape"
  read -ra more <<<"$rest"
  "$program" plan "$model" --ranks "$ranks" --json "${options[@]}" "${more[@]}" >"$work/plan.json"
  launcher=()
  if [ "$ranks" -gt 1 ]; then launcher=("${mpi[@]}" -n "$ranks"); fi
  "${launcher[@]}" "$program" quantize "$model" --output "$work/out" -q "${options[@]}" "${more[@]}"
  python3 - "$work/plan.json" "$work/out.work/report.json" "$shape" <<'PY' || fail "memory of $shape"
import json, sys
plan, report = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
assert [rank["memory"] for rank in plan["ranks"]] == [cost["memory"] for cost in report["plan"]], "not the plan of the run"
for planned, rank in zip(plan["ranks"], report["ranks"]):
    share = rank["peak_memory"] / planned["memory"]
    print(f"{sys.argv[3]}: {share:.2f} of {planned['memory'] / 1e6:.0f} MB")
    assert 0.75 <= share <= 1, share
PY
  rm -rf "$work/out" "$work/out.work"
done

# A config.json alone gives the plan of the whole model.
mkdir "$work/config-only"
cp "$model/config.json" "$work/config-only"
hash_of() { "$program" plan "$1" --ranks 2 --json "${options[@]}" | python3 -c 'import json, sys; print(json.load(sys.stdin)["plan"])'; }
whole=$(hash_of "$model")
[ "$whole" = "$(hash_of "$work/config-only")" ] || fail "the plan without weights is another one"
[ "$whole" = "$(hash_of "$model/config.json")" ] || fail "the plan of the file is another one"

# What does not fit ends with code 2 and says by how much.
sed 's/memory_gb: 24/memory_gb: 0.05/' "$source/configs/topologies/cpu-core.yaml" >"$work/small.yaml"
code=0
"$program" plan "$model" --topology "$work/small.yaml" --nodes 1 "${options[@]}" >"$work/text" 2>"$work/error" || code=$?
[ "$code" -eq 2 ] || fail "a plan that cannot fit ends with code $code"
grep -q "GB too little" "$work/error" || fail "the refusal does not say by how much"

# Models and machines that one does not have; the formulas against the simulation.
"$program" plan llama-3.1-405b --topology dgx-h100 --nodes 2 --json >"$work/large.json"
"$program" plan deepseek-v3 --topology dgx-h100 --scale 8,16 --json >"$work/scale.json"
"$program" plan "$model" --ranks 2 --simulate --json "${options[@]}" >"$work/simulated.json"
python3 - "$work" <<'PY' || fail "figures"
import json, sys
load = lambda name: json.load(open(f"{sys.argv[1]}/{name}.json"))
large = load("large")
assert large["quantizable"] and len(large["ranks"]) == 16 and 200e9 < sum(file["bytes"] for file in large["files"]) < 230e9
assert [row["ranks"] for row in load("scale")["scale"]] == [8, 16]
assert load("simulated")["kept_hessian_bytes"] == 6 * 4 * (3 * 256 * 257 // 2 + 768 * 769 // 2)
simulated = load("simulated")
assert abs(simulated["seconds"] / simulated["simulated_seconds"] - 1) < 0.08
PY

# The batch script is one that bash reads, with the directives of its plan.
"$program" plan "$model" --topology cpu-node --nodes 2 --sbatch "${options[@]}" >"$work/job.sh"
bash -n "$work/job.sh"
grep -qx '#SBATCH --nodes=2' "$work/job.sh" || fail "nodes are missing"
grep -qx '#SBATCH --ntasks-per-node=8' "$work/job.sh" || fail "tasks are missing"
grep -q 'quantize.sbatch' "$work/job.sh" || fail "the script does not start the job"

# A machine is measured, and its file is read.
for ranks in 1 2; do
  "${mpi[@]}" -n "$ranks" "$program" plan --calibrate "$work/here.yaml" --threads 1 -q
  "$program" plan "$model" --topology "$work/here.yaml" --ranks "$ranks" "${options[@]}" >"$work/text"
  grep -q "this machine, measured" "$work/text" || fail "the measured topology of $ranks ranks is not used"
done
echo "plan: done"
