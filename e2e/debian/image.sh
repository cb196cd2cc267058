#!/usr/bin/env bash
# image.sh RELEASE PROGRAM DIRECTORY makes DIRECTORY/RELEASE.ext4, a whole Debian with systemd, its
# journal and D-Bus for User-Mode Linux. install.sh has put PROGRAM into it.
#
# image.sh RELEASE OLD.deb DIRECTORY NEW.deb makes DIRECTORY/RELEASE-deb.ext4, which has OLD.deb
# installed. Both packages are in /root. DIRECTORY/RELEASE keeps what debootstrap has made. Needs
# root, debootstrap, user-mode-linux, and the mirror that apt uses.
set -euo pipefail

release=$1 program=$2 new=${4-}
mkdir -p "$3"
directory=$(cd "$3" && pwd)
root=$directory/$release
packaging=$(cd "$(dirname "$0")/../../packaging" && pwd)

if [ ! -d "$root" ]; then
	# shellcheck disable=SC2016 # apt fills them in
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 !~ /-/ { print $1; exit }')
	rm -rf "$root.begun"
	# kmod: without it systemd does not load the modules for vsock.
	debootstrap --variant=minbase --include=dbus,kmod,systemd,systemd-sysv "$release" "$root.begun" "$mirror" >"$directory/$release.log" || {
		tail -n 20 "$directory/$release.log" >&2
		exit 1
	}
	cp -a /usr/lib/uml/modules/. "$root.begun/lib/modules/"
	mv "$root.begun" "$root"
fi

made=$root.made
rm -rf "$made"
cp -a "$root" "$made"
if [ -n "$new" ]; then
	cp "$program" "$made/root/old.deb"
	cp "$new" "$made/root/new.deb"
	chroot "$made" dpkg -i /root/old.deb >/dev/null
else
	"$packaging/install.sh" --root "$made" "$program" >/dev/null
fi
echo 0123456789abcdef0123456789abcdef >"$made/etc/machine-id"
echo original >"$made/etc/hostname"

image=$root${new:+-deb}.ext4
rm -f "$image"
mkfs.ext4 -q -d "$made" "$image" 1500M
rm -rf "$made"
