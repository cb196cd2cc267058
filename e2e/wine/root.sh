#!/usr/bin/env bash
# root.sh DIRECTORY makes DIRECTORY/root, a Debian 13 with Wine and wixl, and DIRECTORY/prefix, in which
# Wine keeps its settings. The machine's own packages stay as they are. Needs root, debootstrap,
# and the mirror that apt uses: 300 MB, and 2 GB on disk. Wine 8, of Debian 12, starts no
# program of Go 1.21 or later: it lacks bcryptprimitives.dll.
set -euo pipefail

mkdir -p "$1"
directory=$(cd "$1" && pwd)
root=$directory/root
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -d "$root" ]; then
	# shellcheck disable=SC2016 # apt fills them in
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 !~ /-/ { print $1; exit }')
	rm -rf "$root.begun"
	debootstrap --variant=minbase --include=wine,wine64,wixl,msitools trixie "$root.begun" "$mirror" >"$directory/root.log" || {
		tail -n 20 "$directory/root.log" >&2
		exit 1
	}
	mv "$root.begun" "$root"
fi
if [ ! -d "$directory/prefix" ]; then
	rm -rf "$directory/prefix.begun"
	WINE=$directory WINE_PREFIX=$directory/prefix.begun WINE_TIMEOUT=300 "$here/exec" wineboot -i
	mv "$directory/prefix.begun" "$directory/prefix"
fi
