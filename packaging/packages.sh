#!/usr/bin/env bash
# packages.sh VERSION DIRECTORY makes, in DIRECTORY, what a release has: deb, rpm and apk for guests,
# archives for hosts and guests, what each program is made of (CycloneDX), and SHA256SUMS. VERSION
# is x.y.z, x.y.z-rcN before that, or x.y.z+N.gHASH after it. Two runs at the same commit make the
# same bytes, on whatever machine. Needs Go, git and zip. SOURCE_DATE_EPOCH replaces the commit's
# time, and PLATFORMS all systems and architectures: "linux/amd64 windows/arm64".
set -euo pipefail
umask 022

if [ $# -ne 2 ]; then
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
version=$1
number='(0|[1-9][0-9]*)'
if ! [[ $version =~ ^$number\.$number\.$number(-rc[1-9][0-9]*|\+[1-9][0-9]*\.g[0-9a-f]{7,40})?$ ]]; then
	printf 'packages.sh: version "%s": want x.y.z, x.y.z-rcN or x.y.z+N.gHASH\n' "$version" >&2
	exit 2
fi
if [ "${BASH_REMATCH[1]}" -eq 0 ] && [ "${BASH_REMATCH[2]}" -lt 3 ]; then
	printf 'packages.sh: version %s: there are packages of 0.2.0: want 0.3.0 or later\n' "$version" >&2
	exit 2
fi
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
go=${GO:-go}
export GOENV=off GOFLAGS='' CGO_ENABLED=0 GOWORK=off
tool() { GOOS='' GOARCH='' "$go" -C packaging/tool tool -n "$1"; }
nfpm=$(tool nfpm) sbom=$(tool cyclonedx-gomod)
revision=${REVISION:-$(git rev-parse HEAD)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH=$epoch

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
find "$out" -maxdepth 1 -name 'cocoon-agent*' -delete

# build OS ARCH DIRECTORY
build() {
	GOOS=$1 GOARCH=$2 "$go" build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version -X main.revision=$revision" -o "$3/" ./cmd/cocoon-agent
}

# age DIRECTORY: everything in it is as old as the commit, with the modes of a release.
age() {
	find "$1" -type d -exec chmod 755 {} + -o -type f -perm /100 -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
	find "$1" -exec touch -h -d "@$epoch" {} +
}

# cyclonedx-gomod has the version from a tag, and does not know worktrees.
mkdir "$dir/source"
git archive HEAD | tar -x -C "$dir/source"
history=(-c user.name=release -c user.email=release@localhost -c commit.gpgsign=false -c tag.gpgsign=false -C "$dir/source")
git "${history[@]}" init -q
git "${history[@]}" add -A
git "${history[@]}" commit -q -m release
git "${history[@]}" tag "v$version"

# Archives.
archive() {
	local os=$1 arch=$2 name=cocoon-agent_${version}_$1_$2
	mkdir "$dir/$name"
	build "$os" "$arch" "$dir/$name"
	cp LICENSE README.md CHANGELOG.md "$dir/$name"
	[ "$os" = windows ] || cp -r docs/man packaging/completions "$dir/$name"
	if [ "$os" = linux ]; then
		mkdir "$dir/$name/packaging"
		cp packaging/README.md packaging/install.sh packaging/default packaging/cocoon-agent.service packaging/cocoon-agent.socket packaging/cocoon-agent.openrc "$dir/$name/packaging"
		cp -r packaging/cocoon-agent.service.d packaging/modules-load.d packaging/modprobe.d packaging/supervise "$dir/$name/packaging"
	fi
	if [ "$os" = windows ]; then
		cp packaging/windows/install.ps1 "$dir/$name"
		age "$dir/$name"
		(cd "$dir" && find "$name" -type f | LC_ALL=C sort | TZ=UTC zip -q -X -@ "$out/$name.zip")
	else
		age "$dir/$name"
		tar -C "$dir" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
	fi
	GOOS=$os GOARCH=$arch "$sbom" app -json -noserial -notimestamp -std -licenses -main cmd/cocoon-agent -output "$out/$name.cdx.json" "$dir/source" 2>"$dir/sbom.log" || {
		cat "$dir/sbom.log" >&2
		exit 1
	}
}
platforms=${PLATFORMS:-linux/amd64 linux/arm64 linux/riscv64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}
for platform in $platforms; do
	archive "${platform%/*}" "${platform#*/}"
done

# Packages.
stage=$dir/stage
mkdir "$stage"
for file in cocoon-agent.service cocoon-agent.openrc; do
	sed 's|/usr/local/bin/cocoon-agent|/usr/bin/cocoon-agent|' "packaging/$file" >"$stage/$file"
done
cp packaging/cocoon-agent.socket packaging/scripts/*.sh LICENSE packaging/default packaging/logrotate "$stage"
cp packaging/cocoon-agent.preset "$stage/preset"
cp packaging/modules-load.d/cocoon-agent.conf "$stage/modules-load.conf"
cp packaging/cocoon-agent.service.d/limits.conf packaging/cocoon-agent.service.d/watchdog.conf "$stage"
cp packaging/README.md "$stage/packaging.md"
cp -r packaging/completions "$stage"
mkdir "$stage/man"
cp docs/man/*.1 "$stage/man"
gzip -9n "$stage/man"/*.1
date=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
for platform in $platforms; do
	[[ $platform = linux/* ]] || continue
	arch=${platform#*/}
	cp "$dir/cocoon-agent_${version}_linux_$arch/cocoon-agent" "$stage"
	age "$stage"
	for format in deb rpm apk; do
		named=$version schema=semver
		if [ "$format" = apk ]; then # nfpm makes another version of +N than Alpine knows
			named=$(sed -E 's/-rc/_rc/; s/\+([0-9]+)\..*/_p\1/' <<<"$version") schema=none
		fi
		sed "s|\${ARCH}|$arch|; s|\${VERSION}|$named|; s|\${SCHEMA}|$schema|; s|\${DATE}|$date|" packaging/nfpm.yaml >"$dir/nfpm.yaml"
		(cd "$stage" && "$nfpm" package -f "$dir/nfpm.yaml" -p "$format" -t "$out/" >/dev/null)
	done
done
(cd "$out" && sha256sum cocoon-agent* >SHA256SUMS)
