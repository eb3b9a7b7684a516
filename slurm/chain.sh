#!/usr/bin/env bash
# Submits a chain of jobs: calibrate -> quantize -> evaluate -> publish. Prints a line "STEP JOB" for each.
#
# usage: slurm/chain.sh [OPTIONS] MODEL OUTPUT [-- OPTIONS OF QUANTIZE]
#        slurm/chain.sh --calibration text.txt --text test.txt --sbatch --nodes=4 --sbatch --time=4:00:00 MODEL OUT -- --format gptq
#
#   --calibration FILE     text to calibrate on (may be repeated); --nsamples N, --seqlen L: of the samples
#   --text FILE            text to evaluate on; --window N, --max-windows M: of the evaluation. Without it nothing is evaluated
#   --publish ORG/NAME     upload when all went well; without it the last job only verifies
#   --sbatch OPTION        option of sbatch for quantize and evaluate (may be repeated)
#   --sbatch-publish OPTION  option of sbatch for the last job, as a partition with internet (may be repeated)
#
# Tokens are kept in OUTPUT.work/tokens.h5, results of the evaluation in OUTPUT.work/evaluation. Each job waits for the end of the one
# before it, whatever its code: afterok would not fire for a job that failed, went back into the queue and succeeded. Each looks
# itself whether what it needs is there, and ends with code 6 if not. Started again, the chain goes on where it was.
set -euo pipefail
usage_error() {
  echo "chain.sh: $1 (see --help)" >&2
  exit 2
}
home=${MPIQUANT_HOME:-$(cd "$(dirname "$0")/.." && pwd)}
export MPIQUANT_HOME=$home
# Slurm keeps the environment of a submission; the upload reads the token's file on its node.
unset HF_TOKEN HUGGING_FACE_HUB_TOKEN
texts=() sampling=() evaluation=() sbatch=() last=() words=() repository=
while [ $# -gt 0 ]; do
  case $1 in
    --calibration | --nsamples | --seqlen | --text | --window | --max-windows | --publish | --sbatch | --sbatch-publish)
      [ $# -ge 2 ] || usage_error "$1 needs a value"
      case $1 in
        --calibration) texts+=(--calibration "$2") ;;
        --nsamples | --seqlen) sampling+=("$1" "$2") ;;
        --text | --window | --max-windows) evaluation+=("$1" "$2") ;;
        --publish) repository=$2 ;;
        --sbatch) sbatch+=("$2") ;;
        --sbatch-publish) last+=("$2") ;;
      esac
      shift 2
      ;;
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
      exit 0
      ;;
    --)
      shift
      break
      ;;
    -*) usage_error "unknown option '$1'" ;;
    *)
      words+=("$1")
      shift
      ;;
  esac
done
[ ${#words[@]} -eq 2 ] || usage_error "give MODEL and OUTPUT"
model=${words[0]} output=${words[1]%/}
work=$output.work
mkdir -p "$work"

previous=
submit() { # STEP ARGUMENTS OF SBATCH AND SCRIPT...
  local step=$1
  shift
  local -a after=()
  if [ -n "$previous" ]; then after=(--dependency="afterany:$previous" --kill-on-invalid-dep=yes); fi
  previous=$(sbatch --parsable --job-name="mq-$step-$(basename "$output")" --output="$work/$step-%j.log" ${after[@]+"${after[@]}"} "$@")
  previous=${previous%%;*}
  echo "$step $previous"
}

samples=(${texts[@]+"${texts[@]}"} ${sampling[@]+"${sampling[@]}"} --token-store "$work/tokens.h5")
if [ ${#texts[@]} -gt 0 ]; then
  submit calibrate "$home/slurm/calibrate.sbatch" "$model" "${samples[@]}"
else
  samples=(${sampling[@]+"${sampling[@]}"})
fi
submit quantize ${sbatch[@]+"${sbatch[@]}"} "$home/slurm/quantize.sbatch" "$model" --output "$output" ${samples[@]+"${samples[@]}"} "$@"
if [ ${#evaluation[@]} -gt 0 ]; then
  submit evaluate ${sbatch[@]+"${sbatch[@]}"} "$home/slurm/evaluate.sbatch" "$work/evaluation" "$output" --reference "$model" "${evaluation[@]}"
fi
results=()
if [ ${#evaluation[@]} -gt 0 ]; then results=(--results "$work/evaluation"); fi
submit publish ${last[@]+"${last[@]}"} "$home/slurm/publish.sbatch" ${results[@]+"${results[@]}"} "$output" ${repository:+"$repository"}
