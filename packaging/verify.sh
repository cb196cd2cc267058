#!/usr/bin/env bash
# Checks the systemd units with systemd-analyze, using the program in bin/, and install.sh.
set -euo pipefail

cd "$(dirname "$0")/.."
command -v systemd-analyze >/dev/null || {
	echo 'packaging/verify.sh: systemd-analyze not found: apt-get install systemd' >&2
	exit 1
}
[ -x bin/cocoon-agent ] || { echo 'packaging/verify.sh: bin/cocoon-agent not found: run make build' >&2; exit 1; }
packaging/install_test.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed -E "s,^(ExecStart|ExecReload)=/usr/local/bin/,\\1=$PWD/bin/," packaging/cocoon-agent.service >"$dir/cocoon-agent.service"
cp packaging/cocoon-agent.socket "$dir"
# verify NAME: checks both units, with the drop-ins copied so far.
verify() {
	local said
	said=$(systemd-analyze verify --man=no "$dir/cocoon-agent.socket" "$dir/cocoon-agent.service" 2>&1) || { echo "$said" >&2; exit 1; }
	[ -z "$said" ] || { echo "$said" >&2; exit 1; }
	echo "$1: ok"
}
verify 'packaging/cocoon-agent.socket and .service'

mkdir "$dir/cocoon-agent.service.d"
cp packaging/cocoon-agent.service.d/watchdog.conf "$dir/cocoon-agent.service.d"
verify packaging/cocoon-agent.service.d/watchdog.conf

# DelegateSubgroup= came with systemd 254.
version=$(systemd-analyze --version | awk 'NR == 1 { print int($2) }')
if [ "$version" -ge 254 ]; then
	cp packaging/cocoon-agent.service.d/limits.conf "$dir/cocoon-agent.service.d"
	verify packaging/cocoon-agent.service.d/limits.conf
else
	echo "packaging/cocoon-agent.service.d/limits.conf: NOT CHECKED: needs systemd 254, this is $version"
fi
