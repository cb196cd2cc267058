#!/usr/bin/env bash
# Guess:  a neighbour entry that is permanent stays until somebody deletes it, or the interface goes down.
# Seen:   setting the MAC of an interface deletes all its permanent neighbours, even if it is the MAC that
#         the interface already has. No message says why. Addresses and routes stay, and so do proxy entries.
#         A clone that gets a MAC of its own loses a gateway that was entered by hand.
# With:   Linux 6.18, iproute2 6.1, veth.
# Needs:  root and ip(8). All is in a network namespace of its own.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/steps" <<'STEPS'
mac=02:00:00:00:00:01
ip link add v0 address $mac type veth peer name v1
ip link set v0 up && ip link set v1 up
ip addr add 10.0.0.1/24 dev v0
ip route add 10.9.0.0/16 via 10.0.0.9
ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0 nud permanent
ip neigh add proxy 10.0.0.8 dev v0
report() {
	echo "$1: $(ip neigh show dev v0 nud permanent | wc -l) permanent, $(ip neigh show proxy dev v0 | wc -l) proxy, $(ip route show 10.9.0.0/16 | wc -l) route"
}
report 'at first'
ip link set v0 address $mac
report 'the same MAC set again'
STEPS
unshare --net bash -e "$dir/steps" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
at first: 1 permanent, 1 proxy, 1 route
the same MAC set again: 0 permanent, 1 proxy, 1 route
SEEN
echo "as before: setting a MAC deletes permanent neighbours (Linux $(uname -r))"
