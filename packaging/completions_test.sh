#!/usr/bin/env bash
# completions_test.sh tests the completions in bash, zsh and fish themselves. Needs zsh and fish.
set -euo pipefail

cd "$(dirname "$0")/completions"
here=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
touch a-file another-file
fail() {
	echo "completions: $*" >&2
	exit 1
}

# by_bash LINE: what bash offers for the last word.
by_bash() {
	bash --norc -c '
		source "$1/cocoon-agent.bash"
		default=""
		compopt() { [ "$2" != default ] || default=yes; }
		words=${2//=/ = }
		words=${words//:/ : }
		read -ra COMP_WORDS <<<"$words"
		[[ $2 != *" " ]] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_cocoon_agent
		if [ -n "$default" ]; then compgen -f -- "${COMP_WORDS[COMP_CWORD]#=}" || :; else printf "%s\n" "${COMPREPLY[@]}"; fi
	' bash "$here" "$1"
}

# shellcheck disable=SC2016 # fish expands it
by_fish() { fish --no-config -c 'source $argv[1]/cocoon-agent.fish; complete -C $argv[2]' "$here" "$1" | cut -f 1; }

# by_zsh LINE: what a zsh at a terminal shows after a tab, or two.
by_zsh() {
	# shellcheck disable=SC2016 # zsh expands it
	zsh -f -c '
		zmodload zsh/zpty
		zpty shell zsh -f -i
		zpty -w shell "PS1=READY; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; setopt auto_list no_list_beep; LISTMAX=1000; COLUMNS=200; echo BEGUN"
		zpty -r -m shell seen "*BEGUN*READY*"
		zpty -w -n shell "$2"$'"'\\t\\t'"'
		zpty -w shell ""
		zpty -w shell "echo EN""DED"
		seen=""
		while zpty -r shell line "*
"; do seen+=$line; [[ $line != *ENDED* || $line == *EN\"* ]] || break; done
		print -r -- "$seen"
		zpty -d shell
	' zsh "$here" "$1"
}

# offers LINE WANT UNWANTED: each shell offers WANT, and not UNWANTED (unless it is "").
offers() {
	local shell got
	for shell in bash fish zsh; do
		got=$("by_$shell" "$1")
		[[ -z $2 || $got == *"$2"* ]] || fail "$shell: \"$1\": no $2: $got"
		[[ -z $3 || $got != *"$3"* ]] || fail "$shell: \"$1\": $3 is offered: $got"
	done
}
offers 'cocoon-agent se' serve ping
offers 'cocoon-agent exe' exec ''
offers 'cocoon-agent serve --de' --deny --allow
offers 'cocoon-agent serve --log-format=j' json text
offers 'cocoon-agent serve --log-level w' warn info
offers 'cocoon-agent serve --deny ex' exec ''
offers 'cocoon-agent serve --settings a-' a-file ''
offers 'cocoon-agent client --cid 3 --mem' --memory ''
offers 'cocoon-agent exec --mem' --memory ''
offers 'cocoon-agent client --target vsock://3:1024 --mem' --memory ''
offers 'cocoon-agent client --user dev:grp -e A=b --env=A=b --mem' --memory ''
offers 'cocoon-agent client --target vsock://3:1024 -- a-' a-file ''
offers 'cocoon-agent attach --redraw w' winch auto
offers 'cocoon-agent serve --deny exec,sig' exec,signal ''
offers 'cocoon-agent client --cid 3 -- a-' a-file ''
offers 'cocoon-agent client --cid 3 ls --mem' '' --memory=
offers 'cocoon-agent client --cid 3 ls a-' a-file ''
offers 'cocoon-agent client --cid 3 -- ls --mem' '' --memory=
echo 'completions: bash, fish, zsh: ok'
