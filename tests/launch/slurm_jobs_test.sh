#!/usr/bin/env bash
# The program itself on a Slurm of four virtual nodes: the bytes of a local run whatever the launcher, a time limit, scancel, a node set
# down, an array, a chain, and a fleet with a model that fails.
# usage: slurm_jobs_test.sh SOURCE_DIR PROGRAM       exit code 77: Slurm is not installed here
set -uo pipefail
. "$1/tests/launch/slurm_lib.sh"
need_slurm
export MPIQUANT_BIN=$2
start_cluster "$1"
model=$source_dir/tests/models/tiny-llama
text=$source_dir/configs/calibration
words=("$model" --bits 4 --group-size 64 --calibration "$text/corpus-calibration.txt" --nsamples 16 --seqlen 128 --format gptq)
program=$2

submit() { # LOG ARGUMENTS OF SBATCH -- ARGUMENTS OF QUANTIZE
  local log=$1 options=()
  shift
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  sbatch --parsable --nodes=4 --ntasks=4 --cpus-per-task=1 --output="$log" "${options[@]}" "$source_dir/slurm/quantize.sbatch" "${@:2}"
}
sums() { cat "$1/SHA256SUMS" 2>/dev/null || echo "$1 is not there"; }
nothing_there() { [ ! -e "$1" ] && echo nothing; }

"$program" quantize "${words[@]}" --threads 2 --output local --quiet

for launcher in srun mpirun; do
  job=$(MPIQUANT_LAUNCHER=$launcher submit log-$launcher -- "${words[@]}" --output $launcher)
  expect "$launcher on 4 nodes" 0 "$(ended "$job")" log-$launcher
  expect "$launcher gives the bytes of the local run" "$(sums local)" "$(sums $launcher)" log-$launcher
done

# From here on the ranks stop after the first layer until they are signalled or restarted, however fast the machine is.
cat >patient <<'END'
#!/usr/bin/env bash
"$PATIENT_PROGRAM" "$@" &
rank=$!
trap 'kill -CONT $rank' USR2 TERM  # Slurm signals all processes of a task
if [ "${SLURM_RESTART_COUNT:-0}" = 0 ] && [ -n "${PATIENT_LOG:-}" ]; then
  until grep -qs 'layer 1 of' "$PATIENT_LOG" || ! kill -0 $rank 2>/dev/null; do sleep 0.05; done
  kill -STOP $rank 2>/dev/null
fi
while kill -0 $rank 2>/dev/null; do
  wait $rank
  code=$?
done
exit $code
END
chmod +x patient
export PATIENT_PROGRAM=$program

# The time limit is a minute, the least there is. Slurm looks every half a minute whom to signal; the second run is short enough for the rest.
export MPIQUANT_BIN=$PWD/patient
job=$(PATIENT_LOG=$PWD/log-limit MPIQUANT_MAX_RESTARTS=20 submit log-limit --time=1 --signal=B:USR2@25 -- "${words[@]}" --output limit)
expect "time limit, the end" 0 "$(ended "$job")" log-limit
expect "time limit, requeued" yes "$(grep -q 'ended with code 75; back into the queue' log-limit && echo yes)" log-limit
expect "time limit, goes on from its checkpoint" yes "$(grep -q 'going on with limit.work/checkpoint' log-limit && echo yes)" log-limit
expect "time limit, the same bytes" "$(sums local)" "$(sums limit)" log-limit

job=$(PATIENT_LOG=$PWD/log-cancel MPIQUANT_MAX_RESTARTS=5 submit log-cancel -- "${words[@]}" --output cancel)
wait_in log-cancel 'layer 1 of'
scancel "$job"
ended "$job" >/dev/null
expect "scancel is the end" "CANCELLED 0" "$(field "$job" JobState) $(field "$job" Restarts)" log-cancel
expect "scancel leaves no output" nothing "$(nothing_there cancel)" log-cancel
job=$(submit log-cancel --dependency="afterany:$job" -- "${words[@]}" --output cancel)
expect "submitted again after scancel" 0 "$(ended "$job")" log-cancel
expect "after scancel, the same bytes" "$(sums local)" "$(sums cancel)" log-cancel

job=$(PATIENT_LOG=$PWD/log-down MPIQUANT_MAX_RESTARTS=5 submit log-down -- "${words[@]}" --output down)
wait_in log-down 'layer 1 of'
scontrol update nodename=node3 state=down reason=test
for ((i = 0; i < 150; ++i)); do
  [ "$(field "$job" Restarts)" != 1 ] || break
  sleep 0.2
done
expect "a node set down, requeued" 1 "$(field "$job" Restarts)" log-down
expect "a node set down, no output" nothing "$(nothing_there down)" log-down
scontrol update nodename=node3 state=idle
expect "a node set down, the end" 0 "$(ended "$job")" log-down
expect "a node set down, the same bytes" "$(sums local)" "$(sums down)" log-down

export MPIQUANT_BIN=$program
printf '# models\n%s %s --bits 4\n\n%s %s --bits 8\n%s %s\n' "$model" one "$source_dir/tests/models/tiny-mistral" two ./nothing three >models.txt
job=$(sbatch --parsable --array=1-3%2 --ntasks=1 --output=log-array-%a "$source_dir/slurm/array.sbatch" models.txt --group-size 64 \
  --method rtn --format gptq)
for task in 1 2 3; do ended "${job}_$task" >/dev/null; done
expect "array, task 1" 0 "$(ended "${job}_1")" log-array-1
expect "array, task 2" 0 "$(ended "${job}_2")" log-array-2
expect "array, task 3 fails alone" 3 "$(ended "${job}_3")" log-array-3
expect "array, outputs" "one two" "$(echo one two three | xargs -n1 | while read -r name; do [ ! -e "$name/SHA256SUMS" ] || echo "$name"; done | xargs)" log-array-1

chain=$("$source_dir/slurm/chain.sh" --calibration "$text/corpus-calibration.txt" --nsamples 16 --seqlen 128 --text "$text/corpus-evaluation.txt" \
  --window 64 --max-windows 4 --sbatch --ntasks=2 "$model" chained -- --bits 4 --group-size 64 --format gptq)
expect "chain, steps" "calibrate quantize evaluate publish" "$(cut -d' ' -f1 <<<"$chain" | xargs)" models.txt
job=$(awk '$1 == "publish" {print $2}' <<<"$chain")
expect "chain, the last step" 0 "$(ended "$job")" <(cat chained.work/*.log)
expect "chain, the same bytes" "$(sed '/mpiquant.json/d' local/SHA256SUMS)" "$(sums chained | sed '/mpiquant.json/d')" <(cat chained.work/*.log)
expect "chain, the evaluation" yes "$(grep -q perplexity chained.work/evaluation/output.json && echo yes)" <(cat chained.work/*.log)

# The hf command line of this machine notes what it is asked for.
mkdir bin hub
printf '#!/bin/sh\necho "$*" >>%s/uploads\n' "$PWD" >bin/hf
chmod +x bin/hf
(umask 077 && echo secret >hub/token)
publish() { PATH=$PWD/bin:$PATH HF_HOME=$PWD/hub sbatch --parsable --output=log-publish "$source_dir/slurm/publish.sbatch" "$@"; }
job=$(publish --results chained.work/evaluation chained org/tiny)
expect "publish" 0 "$(ended "$job")" log-publish
expect "publish, the upload" "upload org/tiny chained . --repo-type model" "$(cat uploads)" log-publish
chmod 644 hub/token
job=$(publish chained org/tiny)
expect "publish, a token that others can read" 2 "$(ended "$job")" log-publish
expect "publish, no upload then" 1 "$(wc -l <uploads)" log-publish

cat >night.yaml <<END
version: 1
output: night
defaults:
  options: {method: rtn, group-size: 64, format: gptq}
  evaluate: {text: $text/corpus-evaluation.txt, window: 64, max-windows: 4}
  slurm: {nodes: 2, ntasks-per-node: 1, cpus-per-task: 1, time: "5:00"}
families:
  tiny: {llama: $model, none: ./nothing}
recipes:
  int4: {options: {bits: 4}}
END
HF_TOKEN=hf_not_to_be_seen "$program" fleet night.yaml --backend slurm >log-fleet 2>&1
expect "fleet, exit code of the model that fails" 3 $? log-fleet
expect "fleet, states" "done failed" "$(python3 -c 'import json
print(*[row["state"] for row in json.load(open("night/fleet-state/table.json"))["rows"]])')" log-fleet
made() { find night -name SHA256SUMS -printf '%p %T@\n'; }
before=$(made)
job=$(sbatch --parsable --output=log-nightly "$source_dir/slurm/nightly.sbatch" night.yaml)
expect "nightly, exit code of the model that fails" 3 "$(ended "$job")" log-nightly
expect "nightly, what was done is not done again" "$before" "$(made)" log-nightly
expect "no secret anywhere" 0 "$(grep -rl hf_not_to_be_seen . | wc -l)" log-fleet
[ $failures -eq 0 ]
