#!/usr/bin/env bash
# Checks the systemd unit with systemd-analyze, with the program from bin/ in
# the place of the installed one.
set -euo pipefail

cd "$(dirname "$0")/.."
command -v systemd-analyze >/dev/null || {
	echo 'packaging/verify.sh: no systemd-analyze: apt-get install systemd' >&2
	exit 1
}
[ -x bin/cocoon-agent ] || { echo 'packaging/verify.sh: no bin/cocoon-agent: make build' >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed "s|^ExecStart=/usr/local/bin/|ExecStart=$PWD/bin/|" packaging/cocoon-agent.service >"$dir/cocoon-agent.service"
verify() {
	local said
	said=$(systemd-analyze verify --man=no "$dir/cocoon-agent.service" 2>&1) || { echo "$said" >&2; exit 1; }
	[ -z "$said" ] || { echo "$said" >&2; exit 1; }
	echo "$1: systemd-analyze verify has nothing to say"
}
verify packaging/cocoon-agent.service

# DelegateSubgroup= came with systemd 254.
version=$(systemd-analyze --version | awk 'NR == 1 { print int($2) }')
if [ "$version" -ge 254 ]; then
	cp -r packaging/cocoon-agent.service.d "$dir"
	verify packaging/cocoon-agent.service.d/limits.conf
else
	echo "packaging/cocoon-agent.service.d/limits.conf: NOT CHECKED: systemd $version is older than 254"
fi
