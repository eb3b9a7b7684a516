# shellcheck shell=bash
# Shared by the scripts that run steps of a fleet's jobs, here and in slurm/.

# What a step came to, for the fleet that started it: record_step FOLDER STEP CODE SECONDS NODES WORD
# FOLDER/usage gets a line; FOLDER/STEP.exit appears as a whole, unless WORD is "requeued": then the step will run again.
record_step() {
  printf '%s %s %s %s\n' "$2" "$3" "$4" "$5" >>"$1/usage"
  [ "$6" != requeued ] || return 0
  printf '%s %s\n' "$3" "$6" >"$1/$2.exit.partial" && mv "$1/$2.exit.partial" "$1/$2.exit"
}
