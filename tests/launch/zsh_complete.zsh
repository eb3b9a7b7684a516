#!/usr/bin/env -S zsh -f
# zsh_complete.zsh COMPLETION LINE: presses Tab after LINE in an interactive zsh that has sourced COMPLETION, and prints what is offered.
zmodload zsh/zpty
offers=$(mktemp -d)
cat >$offers/init <<INIT
PROMPT=
autoload -Uz compinit && compinit -u -D
source ${(q)1}
bindkey '^I' complete-word
setopt no_list_beep no_always_last_prompt
# What is added to the offers is written down, too; calls that only ask are left alone.
compadd() {
  if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
    local -a offered
    builtin compadd -A offered "\$@"
    (( \$#offered )) && print -rl -- \$offered >>$offers/words
  fi
  builtin compadd "\$@"
}
comppostfuncs=(offers_end)
offers_end() { : >$offers/end }
: >$offers/ready
INIT
zpty shell "zsh -f -i"
zpty -w shell "source $offers/init"
wait_for() { repeat 200 { [[ -e $offers/$1 ]] && return; zpty -r -t shell >/dev/null; sleep 0.05 }; print "no sign of $1" }
wait_for ready
zpty -w -n shell "$2"$'\t'
wait_for end
[[ -e $offers/words ]] && sort -u $offers/words
zpty -d shell
rm -rf $offers  # no trap: the shell that zpty starts would run it, too
