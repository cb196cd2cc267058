#!/usr/bin/env bash
# release.sh VERSION DIRECTORY makes, in DIRECTORY, all that a release has: what packages.sh makes, the MSI
# for Windows guests, a provenance statement (in-toto, SLSA v1), and SHA256SUMS of all of it. It
# refuses a tree with changes, and a VERSION that is not the newest of CHANGELOG.md. Needs what
# packages.sh needs, and jq, wixl and msitools. The MSI differs from one run to the next; all else
# is the same on every machine.
set -euo pipefail

if [ $# -ne 2 ]; then
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
version=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
go=${GO:-go}
die() {
	printf 'release.sh: %s\n' "$*" >&2
	exit 1
}
for command in jq wixl msibuild zip; do command -v "$command" >/dev/null || die "no $command here: apt-get install jq wixl msitools zip"; done
[ -z "$(git status --porcelain)" ] || die "the tree has changes: commit them first"
newest=$(sed -n 's/^## v\([^,]*\), .*/\1/p' CHANGELOG.md | head -n 1)
[ "$version" = "$newest" ] || die "version $version: the newest in CHANGELOG.md is $newest"
if tag=$(git rev-parse -q --verify "v$version^{commit}"); then
	[ "$tag" = "$(git rev-parse HEAD)" ] || die "v$version is the tag of another commit, $tag"
fi

packaging/packages.sh "$version" "$out"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
packaging/windows/build.sh "$version" "$dir"
cp "$dir"/*.msi "$out"

rm "$out/SHA256SUMS"
(cd "$out" && sha256sum cocoon-agent*) >"$dir/sums"
# Describe the build: its version, commit, Go and modules. Nothing of the machine is in it.
jq -R -n --arg version "$version" --arg commit "$(git rev-parse HEAD)" --arg go "$("$go" env GOVERSION)" '{
	_type: "https://in-toto.io/Statement/v1",
	subject: [inputs | capture("^(?<sha256>[0-9a-f]{64})  (?<name>.+)$") | {name, digest: {sha256}}],
	predicateType: "https://slsa.dev/provenance/v1",
	predicate: {
		buildDefinition: {
			buildType: "https://github.com/cocoonstack/cocoon-agent/blob/main/packaging/release.sh",
			externalParameters: {version: $version},
			resolvedDependencies: [
				{uri: "git+https://github.com/cocoonstack/cocoon-agent", digest: {gitCommit: $commit}},
				{name: "go", uri: ("pkg:golang/std@" + ($go | ltrimstr("go")))}
			]
		},
		runDetails: {builder: {id: "https://github.com/cocoonstack/cocoon-agent/blob/main/docs/releasing.md"}}
	}
}' "$dir/sums" >"$out/cocoon-agent_$version.provenance.json"
(cd "$out" && sha256sum cocoon-agent* >SHA256SUMS)
echo "$out: $(wc -l <"$out/SHA256SUMS") files"
