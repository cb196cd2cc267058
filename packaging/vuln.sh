#!/usr/bin/env bash
# vuln.sh has govulncheck look for known vulnerabilities in what the program and each module call,
# in the release of Go's database that packaging/vuln/go.mod names: "go get
# golang.org/x/vulndb@latest" there takes a newer one. It fails for each that is not in
# packaging/vuln/known.
set -euo pipefail

cd "$(dirname "$0")/.."
go=${GO:-go}
export GOWORK=off CGO_ENABLED=0

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$go" -C packaging/vuln build -o "$dir/" golang.org/x/vuln/cmd/govulncheck golang.org/x/vulndb/cmd/indexdb
"$dir/indexdb" -vulns "$("$go" -C packaging/vuln list -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv" -out "$dir/db"
echo "database: $("$go" -C packaging/vuln list -m -f '{{.Version}}' golang.org/x/vulndb), $("$go" version)"

# look SYSTEM MODULE: one line for each vulnerability that the module calls: ID, the version that has it, and the one that fixes it.
look() {
	local status=0
	(cd "$2" && GOOS=$1 "$dir/govulncheck" -db "file://$dir/db" ./...) >"$dir/said" 2>&1 || status=$?
	case $status in
	0 | 3) ;; # 3: there are some
	*)
		cat "$dir/said" >&2
		exit 1
		;;
	esac
	# The program is built with what it was tested with: nothing is known of it.
	if [ "$status" -eq 3 ] && ! grep -q '^Vulnerability #' "$dir/said" || [ "$status" -eq 3 ] && [ "$2" = . ]; then
		cat "$dir/said" >&2
		exit 1
	fi
	awk '/^Vulnerability #/ { id = $3 } /^ *Found in:/ { found = $3 } /^ *Fixed in:/ { print id, found, $3 }' "$dir/said" | sort -u
}

: >"$dir/found"
for module in . client/poolmetrics kubelet bench e2e/instruments examples; do
	for system in linux windows darwin; do
		[ "$module" = . ] || [ "$system" = linux ] || continue
		look "$system" "$module" >"$dir/lines"
		printf '%s (%s): %s\n' "$module" "$system" "$(wc -l <"$dir/lines")"
		cat "$dir/lines" >>"$dir/found"
	done
done
sort -u -o "$dir/found" "$dir/found"

status=0
while read -r id found fixed; do
	if grep -q "^$id " packaging/vuln/known; then
		echo "known: $id in $found, fixed in $fixed: $(sed -n "s/^$id //p" packaging/vuln/known)"
	else
		echo "vuln.sh: $id in $found, fixed in $fixed: update it, or add it to packaging/vuln/known with the date and the reason" >&2
		status=1
	fi
done <"$dir/found"
while read -r id why; do
	if [[ $id != '#' ]] && ! grep -q "^$id " "$dir/found"; then
		echo "not found with this Go: $id, in packaging/vuln/known since $why"
	fi
done <packaging/vuln/known
exit "$status"
