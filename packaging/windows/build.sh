#!/usr/bin/env bash
# build.sh VERSION DIRECTORY makes, in DIRECTORY, the packages for Windows guests: an MSI for amd64, and
# for amd64 and arm64 a zip with the program and install.ps1. VERSION is x.y.z, such as 0.3.0.
# Needs Go, wixl, msitools and zip. wixl gives an MSI another identity each time: two builds differ.
set -euo pipefail

version=${1-} out=${2-}
if [ $# -ne 2 ] || ! [[ $version =~ ^(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,4})$ ]]; then
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../.."
go=${GO:-go}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for arch in amd64 arm64; do
	name=cocoon-agent_${version}_windows_$arch
	mkdir "$dir/$name"
	GOOS=windows GOARCH=$arch CGO_ENABLED=0 "$go" build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$dir/$name/cocoon-agent.exe" ./cmd/cocoon-agent
	cp packaging/windows/install.ps1 LICENSE "$dir/$name"
	rm -f "$out/$name.zip"
	(cd "$dir" && zip -q -X -r "$out/$name.zip" "$name")
done
cp packaging/windows/cocoon-agent.wxs "$dir/cocoon-agent_${version}_windows_amd64"
cd "$dir/cocoon-agent_${version}_windows_amd64"
wixl --arch x64 -D VERSION="$version" -o "$out/cocoon-agent_${version}_windows_amd64.msi" cocoon-agent.wxs
# wixl has no word for these. The old version is removed within the transaction, so that a failure
# brings it back, and one of the same version is replaced, too. The options of an administrator, or
# of the version before, reach the part that carries out the installation.
msi=$out/cocoon-agent_${version}_windows_amd64.msi
# change TABLE SCRIPT: sed changes a table.
change() {
	msiinfo export "$msi" "$1" | sed -e "$2" >"$dir/$1.idt"
	msibuild "$msi" -i "$dir/$1.idt"
}
change InstallExecuteSequence $'s/^RemoveExistingProducts\t\t1401/RemoveExistingProducts\t\t1501/'
change Upgrade $'s/\t1\t\\(\t*WIX_UPGRADE_DETECTED\\)/\t513\t\\1/'
change Property $'s/^SecureCustomProperties\t/&PORT;OPTIONS;/'
