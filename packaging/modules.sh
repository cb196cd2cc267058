#!/usr/bin/env bash
# modules.sh VERSION prepares the modules of this repository for a release: those that
# programs can depend on require each other in that version. Commit what it has changed, and
# then make the tags that it prints.
#
# modules.sh --test does that with a copy of the tree, serves the copy as a module proxy
# would, and builds and runs a program that depends on all of them.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly root=github.com/cocoonstack/cocoon-agent
readonly nested=(client/poolmetrics kubelet)

usage() {
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' packaging/modules.sh >&2
	exit 2
}

# set_versions VERSION works in the current directory. e2e/metrics depends on all modules of
# the tree, and Go wants it to require what they do.
set_versions() {
	local version=$1 module
	for module in "${nested[@]}" e2e/metrics; do
		go -C "$module" mod edit -require="$root@$version"
	done
	for module in "${nested[@]}"; do
		go -C e2e/metrics mod edit -require="$root/$module@$version"
	done
}

# tag MODULE VERSION. MODULE is a directory, or "." for the root.
tag() {
	if [ "$1" = . ]; then echo "$2"; else echo "$1/$2"; fi
}

# serve DIRECTORY VERSION writes what GOPROXY=file:// needs of the modules of the commit that
# is checked out (go.dev/ref/mod#goproxy-protocol).
serve() {
	local directory=$1 version=$2 module path other exclude
	for module in . "${nested[@]}"; do
		path=$root
		[ "$module" = . ] || path=$root/$module
		mkdir -p "$directory/$path/@v"
		echo "$version" >"$directory/$path/@v/list"
		printf '{"Version":"%s","Time":"%s"}\n' "$version" "$(git log -1 --format=%cI)" >"$directory/$path/@v/$version.info"
		cp "$module/go.mod" "$directory/$path/@v/$version.mod"
		exclude=() # a module does not have the files of those below it
		while read -r other; do
			other=$(dirname "$other")
			[ "$other" = . ] || exclude+=(":(exclude)$other")
		done < <(cd "$module" && git ls-files 'go.mod' '**/go.mod')
		(cd "$module" && git archive --format=zip --prefix="$path@$version/" \
			--output="$directory/$path/@v/$version.zip" HEAD -- . "${exclude[@]}")
	done
}

# clean removes what check has left, in Go's module cache too.
clean() {
	local cache
	cache=$(go env GOMODCACHE)
	rm -rf "$work"
	grep -rlF --include=list "$version" "$cache/cache/download/$root" | xargs -r rm -f || true
	find "$cache/${root%/*}" "$cache/cache/download/$root" -depth -name "*$version*" -exec rm -rf {} + || true
}

check() {
	version=v0.99.0-test.$(date +%s).$$ # Go's module cache takes a version to be the same for ever
	work=$(mktemp -d)
	trap clean EXIT
	git clone -q . "$work/tree"
	find "$work/tree" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		if [ -e "$file" ]; then printf '%s\0' "$file"; fi
	done | tar -c --null -T - | tar -x -C "$work/tree"
	local module
	(
		cd "$work/tree"
		set_versions "$version"
		git add -A
		git -c user.name=test -c user.email=test@example.org -c commit.gpgsign=false commit -q --allow-empty -m 'the tree as it is'
		serve "$work/proxy" "$version"
		for module in "${nested[@]}" e2e/metrics; do
			go -C "$module" list -m all >/dev/null # fails if its go.mod lacks something
		done
	)

	mkdir "$work/program"
	cd "$work/program"
	cat >go.mod <<-EOF
		module example.org/program

		go 1.26.0
	EOF
	cat >main.go <<-EOF
		// A program that depends on all modules.
		package main

		import (
			"fmt"

			"github.com/prometheus/client_golang/prometheus"

			"$root/client"
			"$root/client/poolmetrics"
			"$root/kubelet"
		)

		func main() {
			pool := client.NewPool(client.PoolConfig{})
			defer pool.Close()
			registry := prometheus.NewRegistry()
			registry.MustRegister(poolmetrics.New(pool))
			families, err := registry.Gather()
			fmt.Println(len(families) > 0, err, kubelet.New(pool, nil) != nil)
		}
	EOF
	GOPROXY="file://$work/proxy,$(go env GOPROXY)"
	export GOPROXY GONOSUMDB="$root,$root/*" GOFLAGS=-modcacherw
	go mod edit -require="$root@$version" -require="$root/client/poolmetrics@$version" -require="$root/kubelet@$version"
	go mod tidy
	local modules
	modules=$(go list -m -f '{{.Path}} {{.Version}} {{with .Replace}}replaced{{end}}' all | grep "^$root")
	if grep -v " $version \$" <<<"$modules"; then
		echo "modules.sh: want all in version $version, none replaced" >&2
		exit 1
	fi
	go build -o program .
	local said
	said=$(./program)
	if [ "$said" != 'true <nil> true' ]; then
		echo "modules.sh: the program says $said" >&2
		exit 1
	fi
	printf 'a program outside the tree depends on:\n%s\n' "$modules"
}

case ${1-} in
--test)
	check
	;;
v*)
	number='(0|[1-9][0-9]*)'
	if ! [[ $1 =~ ^v[01]\.$number\.$number(-[0-9A-Za-z.-]+)?$ ]]; then
		echo "modules.sh: version $1: want v0.N.N or v1.N.N, with or without -PRERELEASE" >&2
		exit 2
	fi
	set_versions "$1"
	git --no-pager diff --stat -- '*go.mod'
	echo 'Commit this, and then tag the commit:'
	for module in . "${nested[@]}"; do
		echo "  git tag -s $(tag "$module" "$1")"
	done
	;;
*)
	usage
	;;
esac
