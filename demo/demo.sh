#!/usr/bin/env bash
# Shows cocoon-agent without a VM: starts an agent on a Unix socket in a temporary
# directory and runs commands through it. Every result is checked.
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

# quote ARGS…: prints the arguments, quoted for a shell.
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
	[ "$got" = "$output" ] || die "got the output '$got', want '$output'"
	[ "$status" -eq "$want" ] || die "exit status $status, want $want"
	[ "$want" -eq 0 ] || printf '[exit status %d]\n' "$status"
}

say 'Build the agent.'
bin=$dir/cocoon-agent
CGO_ENABLED=0 "${GO:-go}" build -o "$bin" ./cmd/cocoon-agent

say 'Start the agent. In a guest it listens on vsock port 1024, in this demo on a Unix socket.'
export COCOON_AGENT_TARGET="unix://$dir/agent.sock"
echo "\$ cocoon-agent serve --listen $COCOON_AGENT_TARGET &"
"$bin" serve --listen "$COCOON_AGENT_TARGET" 2>"$dir/agent.log" &
agent=$!
for _ in $(seq 200); do
	grep -q '"listening"' "$dir/agent.log" && break
	kill -0 "$agent" 2>/dev/null || die "the agent exited: $(cat "$dir/agent.log")"
	sleep 0.05
done
grep -q '"listening"' "$dir/agent.log" || die "the agent is not listening after 10 s: $(cat "$dir/agent.log")"

say 'Run a command and print its output.'
run 0 'Hello from the agent.' echo 'Hello from the agent.'
run 0 "$(uname -sr)" uname -sr

say 'Standard output and standard error are separate streams.'
run 0 'to stdout' sh -c 'echo to stdout; echo to stderr >&2' 2>"$dir/stderr"
[ "$(cat "$dir/stderr")" = 'to stderr' ] || die "got the stderr '$(cat "$dir/stderr")', want 'to stderr'"
echo '[stderr:]'
cat "$dir/stderr"

say 'Send 64 MiB through cat: standard input to standard output.'
head -c 67108864 /dev/urandom >"$dir/in"
echo '$ cocoon-agent client -- cat <in >out'
"$bin" client -- cat <"$dir/in" >"$dir/out"
cmp "$dir/in" "$dir/out" || die 'output differs from input'
echo 'Output equals input.'

say "The exit status is the command's; 128+n if signal n killed it, 127 if it was not found."
run 7 '' sh -c 'exit 7'
# shellcheck disable=SC2016 # the remote shell's pid is meant
run 137 '' sh -c 'kill -KILL $$'
run 127 '' no-such-command 2>"$dir/stderr"
cut -c 1-120 "$dir/stderr"

say 'Run 20 commands in parallel.'
pids=()
for i in $(seq 20); do
	"$bin" client -n -- sh -c "sleep 0.2; echo $i" >"$dir/$i" &
	pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || die 'one of the 20 commands failed'; done
for i in $(seq 20); do
	[ "$(cat "$dir/$i")" = "$i" ] || die "command $i printed $(cat "$dir/$i")"
done
echo 'All 20 commands printed their own number.'

say 'Stop the agent with SIGTERM. Its log has the start and the end of each command, here of one:'
kill -TERM "$agent"
status=0
wait "$agent" || status=$?
agent=
[ "$status" -eq 0 ] || die "the agent's exit status is $status: $(cat "$dir/agent.log")"
[ ! -e "$dir/agent.sock" ] || die 'the agent left its socket behind'
peer=$(grep -o '"peer":"[^"]*"' "$dir/agent.log" | tail -n 1)
grep -F "$peer" "$dir/agent.log" | grep '"exec '
