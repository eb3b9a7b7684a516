#!/usr/bin/env bash
# fleet.sh PROGRAM FOLDER: fleets keep going, retry, skip what is done, survive SIGKILL, and share their jobs.
# Jobs run a stand-in for the program, so that only the fleet is at work.
set -uo pipefail
program=$1 folder=$2 source=$PWD
rm -rf "$folder"
mkdir -p "$folder/home/launch" "$folder/home/slurm"
cp launch/fleet_job.sh launch/steps.sh launch/evaluate_outputs.sh "$folder/home/launch"
cp tests/e2e/fleet_stand_in.sh "$folder/home/launch/local.sh"
cd "$folder" || exit 1
for model in good flaky hopeless slow; do ln -s "$source/tests/models/tiny-mistral" $model; done
echo "some text" >test.txt
export MPIQUANT_HOME=$PWD/home FLEET_STARTS=$PWD/starts
failures=0

cat >night.yaml <<'END'
version: 1
output: out
defaults: {options: {method: rtn}, evaluate: {text: test.txt}, retries: 1}
families:
  m: {good: ./good, flaky: ./flaky, missing: ./missing, slow: ./slow, hopeless: ./hopeless}
recipes:
  a: {options: {bits: 4}}
  b: {options: {bits: 8}, gates: {max_perplexity_rise: 5%}}
exclude:
  - {size: "[fmh]*", recipe: b}
END

expect() { # WHAT WANTED GOT
  if [ "$2" = "$3" ]; then
    echo "ok   $1"
    return
  fi
  echo "FAIL $1: wanted '$2', got '$3'"
  failures=$((failures + 1))
}
fresh() { rm -rf out starts; }
fleet() { "$program" fleet night.yaml --jobs 3 "$@" >log 2>&1; }
# The table without times: "job state exit_code attempts perplexity" each.
table() {
  python3 -c 'import json, sys
for row in json.load(open("out/fleet-state/table.json"))["rows"]:
    print(row["job"], row["state"], row["exit_code"], row["attempts"] if len(sys.argv) > 1 else "", row.get("perplexity"))' "$@"
}
starts() { grep -c "/$1$" starts; }
wait_for() { # FILE PATTERN
  for ((i = 0; i < 200; ++i)); do
    grep -q "$2" "$1" 2>/dev/null && return
    sleep 0.1
  done
  echo "FAIL: $1 never had $2"
  failures=$((failures + 1))
}

fresh
fleet --dry-run
expect "exit code of a look ahead" 0 $?
expect "jobs it names" 7 "$(grep -c 'to be run' log)"
expect "what it leaves" no "$([ -e out ] && echo yes || echo no)"
fleet
expect "exit code of the first failed job" 3 $?
wanted="m-good-a done 0 1 11.0
m-good-b gate 0 1 11.0
m-flaky-a done 0 2 11.0
m-missing-a failed 3 1 None
m-slow-a done 0 1 11.0
m-slow-b gate 0 1 11.0
m-hopeless-a failed 6 2 None"
expect "keeps going, retries 6 with a limit, not 3" "$wanted" "$(table attempts)"
for kind in html md json; do expect "table.$kind" yes "$([ -s out/fleet-state/table.$kind ] && echo yes)"; done
expect "the message is in the table" 1 "$(grep -c 'missing does not exist' out/fleet-state/table.md)"
first=$(table)

before=$(wc -l <starts)
fleet
expect "a second start starts nothing" "$before" "$(wc -l <starts)"
expect "--status" 7 "$("$program" fleet night.yaml --status | grep -c '^| m ')"
fleet --retry
expect "--retry starts what failed" $((before + 3)) "$(wc -l <starts)"
before=$(wc -l <starts)
sed -i.bak 's/bits: 8/bits: 3/' night.yaml
fleet
expect "a changed recipe runs again, and no other" $((before + 2)) "$(wc -l <starts)"
echo "other text" >test.txt
before=$(wc -l <starts)
fleet
expect "another text runs all again" $((before + 8)) "$(wc -l <starts)"
mv night.yaml.bak night.yaml
echo "some text" >test.txt

fresh
mkdir -p out/m-good/a
fleet
expect "an output of somebody else stays" "m-good-a failed 2  None" "$(table | grep m-good-a)"

# Killed in the middle: the jobs that were running go on, and the next start takes them over.
fresh
"$program" fleet night.yaml --jobs 3 >log.killed 2>&1 &
victim=$!
wait_for starts m-slow/a
kill -KILL $victim
wait $victim 2>/dev/null
fleet
expect "after SIGKILL, the exit code" 3 $?
expect "after SIGKILL, the same table" "$first" "$(table)"
expect "after SIGKILL, the job that was running was not started again" 1 "$(starts m-slow/a)"
expect "the dead holder is named" yes "$(grep -q 'taking over from process' log && echo yes)"

# Killed when the output had appeared and no exit code was recorded; or started again by a batch system, and refused.
for end in gone refused; do
  fresh
  FLEET_END=$end fleet
  expect "an output without an exit code ($end) is found whole" "$first" "$(table)"
  expect "an output without an exit code ($end) is not made again" 1 "$(starts m-slow/a)"
done

# Told to end: stops where it can be resumed.
fresh
"$program" fleet night.yaml --jobs 3 >log.stopped 2>&1 &
victim=$!
wait_for starts m-slow/a
kill -TERM $victim
wait $victim
expect "SIGTERM, the exit code" 75 $?
expect "SIGTERM leaves no job behind" 0 "$(pgrep -cf "$PWD/home/launch/fleet_job.sh")"
fleet
expect "after SIGTERM, the same table" "$first" "$(table)"

# Two at once.
fresh
"$program" fleet night.yaml --jobs 2 >log.other 2>&1 &
other=$!
fleet
expect "one of two, the exit code" 3 $?
wait $other
expect "the other of two, the exit code" 3 $?
expect "two at once, the same table" "$first" "$(table)"
for job in m-good/a m-good/b m-slow/a m-slow/b m-missing/a; do expect "two at once, starts of $job" 1 "$(starts $job)"; done
expect "two at once, starts of m-flaky/a" 2 "$(starts m-flaky/a)"

mpirun --allow-run-as-root --oversubscribe -n 2 "$program" fleet night.yaml >log 2>&1
expect "under mpirun" 2 $?
if [ $failures -ne 0 ]; then
  cat log
  exit 1
fi
