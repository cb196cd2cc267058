#!/usr/bin/env bash
# A first look at cocoon-agent, without a VM: an agent on a Unix socket in a
# temporary folder, and commands run through it. Every result is checked.
set -euo pipefail

cd "$(dirname "$0")/.."
dir=$(mktemp -d)
agent=
cleanup() {
	if [ -n "$agent" ]; then
		kill "$agent" 2>/dev/null || true
		wait "$agent" 2>/dev/null || true
	fi
	rm -rf "$dir"
}
trap cleanup EXIT

say() { printf '\n# %s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# quote ARGS…: prints them as a shell would take them.
quote() {
	local arg
	for arg; do
		case $arg in
		*[!A-Za-z0-9_./=-]* | '') printf ' %s' "${arg@Q}" ;;
		*) printf ' %s' "$arg" ;;
		esac
	done
}

# run STATUS OUTPUT ARGS…: shows and runs a client's command line, and checks
# its exit status and its output.
run() {
	local want=$1 output=$2 status=0 got
	shift 2
	printf '$ cocoon-agent client --%s\n' "$(quote "$@")"
	got=$("$bin" client -n -- "$@") || status=$?
	[ -z "$got" ] || printf '%s\n' "$got"
	[ "$got" = "$output" ] || die "want the output $output"
	[ "$status" -eq "$want" ] || die "exit status $status, want $want"
	[ "$want" -eq 0 ] || printf '(exit status %d)\n' "$status"
}

say 'Building the agent.'
bin=$dir/cocoon-agent
CGO_ENABLED=0 "${GO:-go}" build -o "$bin" ./cmd/cocoon-agent

say 'In a guest it would listen on vsock port 1024; here, on a Unix socket.'
export COCOON_AGENT_TARGET="unix://$dir/agent.sock"
echo "\$ cocoon-agent serve --listen $COCOON_AGENT_TARGET &"
"$bin" serve --listen "$COCOON_AGENT_TARGET" 2>"$dir/agent.log" &
agent=$!
for _ in $(seq 200); do
	grep -q '"listening"' "$dir/agent.log" && break
	kill -0 "$agent" 2>/dev/null || die "the agent has ended: $(cat "$dir/agent.log")"
	sleep 0.05
done
grep -q '"listening"' "$dir/agent.log" || die 'the agent does not listen'

say 'A command runs there, and its output comes back.'
run 0 'Hello from the agent.' echo 'Hello from the agent.'
run 0 "$(uname -sr)" uname -sr

say 'Standard output and standard error stay apart.'
run 0 'to stdout' sh -c 'echo to stdout; echo to stderr >&2' 2>"$dir/stderr"
[ "$(cat "$dir/stderr")" = 'to stderr' ] || die 'stderr was mixed up'
echo '(and on stderr:)'
cat "$dir/stderr"

say 'Input goes in, output comes out: 64 MB through cat.'
head -c 67108864 /dev/urandom >"$dir/in"
echo '$ cocoon-agent client -- cat <in >out'
"$bin" client -- cat <"$dir/in" >"$dir/out"
cmp "$dir/in" "$dir/out" || die 'the bytes differ'
echo 'in and out are the same.'

say "The exit status is the command's own; 128+n where signal n ended it."
run 7 '' sh -c 'exit 7'
# shellcheck disable=SC2016 # the remote shell's pid is meant
run 137 '' sh -c 'kill -KILL $$'
run 127 '' no-such-command 2>"$dir/stderr"
cut -c 1-120 "$dir/stderr"

say 'Twenty at once.'
pids=()
for i in $(seq 20); do
	"$bin" client -n -- sh -c "sleep 0.2; echo $i" >"$dir/$i" &
	pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || die 'one of the twenty failed'; done
for i in $(seq 20); do
	[ "$(cat "$dir/$i")" = "$i" ] || die "command $i answered $(cat "$dir/$i")"
done
echo 'All twenty have answered, each with its own number.'

say 'SIGTERM ends the agent. Its log has a record of the start and of the end of each command, such as:'
kill -TERM "$agent"
status=0
wait "$agent" || status=$?
agent=
[ "$status" -eq 0 ] || die "the agent's exit status is $status: $(cat "$dir/agent.log")"
[ ! -e "$dir/agent.sock" ] || die 'the agent left its socket behind'
grep '"exec ' "$dir/agent.log" | tail -n 2
