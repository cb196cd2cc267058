#!/usr/bin/env bash
# image.sh RELEASE PROGRAM FOLDER makes FOLDER/RELEASE.ext4, a whole Debian with systemd, its
# journal and D-Bus for User-Mode Linux, into which PROGRAM was installed as README.md
# has it. FOLDER/RELEASE keeps what debootstrap has made. Needs root, debootstrap,
# user-mode-linux, and the mirror that apt uses.
set -euo pipefail

release=$1 program=$2
mkdir -p "$3"
folder=$(cd "$3" && pwd)
root=$folder/$release
packaging=$(cd "$(dirname "$0")/../../packaging" && pwd)

if [ ! -d "$root" ]; then
	# shellcheck disable=SC2016 # apt fills them in
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 !~ /-/ { print $1; exit }')
	rm -rf "$root.begun"
	# kmod: without it systemd does not load the modules for vsock.
	debootstrap --variant=minbase --include=dbus,kmod,systemd,systemd-sysv "$release" "$root.begun" "$mirror" >"$folder/$release.log" || {
		tail -n 20 "$folder/$release.log" >&2
		exit 1
	}
	cp -a /usr/lib/uml/modules/. "$root.begun/lib/modules/"
	mv "$root.begun" "$root"
fi

install -D -m 0755 "$program" "$root/usr/local/bin/cocoon-agent"
install -D -m 0644 -t "$root/etc/systemd/system" "$packaging"/cocoon-agent.{service,socket}
install -D -m 0644 -t "$root/etc/modules-load.d" "$packaging"/modules-load.d/cocoon-agent.conf
systemctl --quiet --root="$root" enable cocoon-agent.socket cocoon-agent.service
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
echo original >"$root/etc/hostname"

rm -f "$root.ext4"
mkfs.ext4 -q -d "$root" "$root.ext4" 1500M
