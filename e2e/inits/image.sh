#!/usr/bin/env bash
# image.sh PROGRAM DIRECTORY APK makes DIRECTORY/inits.ext4, a Debian 12 for User-Mode Linux that starts PROGRAM by runit, s6,
# busybox's init, or as process 1: init=/inits/NAME on the kernel's command line. It was installed by
# packaging/install.sh. OpenRC starts what the APK has. DIRECTORY/inits keeps what debootstrap has made. Needs root, debootstrap, user-mode-linux, and the
# mirror that apt uses.
set -euo pipefail

program=$1
mkdir -p "$2"
root=$(cd "$2" && pwd)/inits
here=$(cd "$(dirname "$0")" && pwd)
packaging=$here/../../packaging

if [ ! -d "$root.base" ]; then
	# shellcheck disable=SC2016 # apt fills them in
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 !~ /-/ { print $1; exit }')
	rm -rf "$root.begun"
	debootstrap --variant=minbase --include=busybox-static,kmod,openrc,runit,s6 bookworm "$root.begun" "$mirror" >"$root.log" || {
		tail -n 20 "$root.log" >&2
		exit 1
	}
	cp -a /usr/lib/uml/modules/. "$root.begun/lib/modules/"
	mv "$root.begun" "$root.base"
fi

rm -rf "$root"
cp -a "$root.base" "$root"
echo guest >"$root/etc/hostname"
mkdir -p "$root/inits" "$root/etc/services.d"
cp "$here/mounts" "$here/openrc" "$here/runit" "$here/s6" "$root/inits"
ln -s /bin/busybox "$root/inits/init"
ln -s /usr/local/bin/cocoon-agent "$root/inits/process1"
printf '%s\n' '::sysinit:/inits/mounts' '::ctrlaltdel:/sbin/reboot' >"$root/etc/inittab"
for system in openrc runit s6 inittab none; do
	"$packaging/install.sh" --root "$root" --init "$system" "$program" # each beside the others
	"$packaging/install.sh" --root "$root" --init "$system" "$program" >/dev/null
done
tar -xzf "$3" -C "$root" --exclude='.*' 2>/dev/null # three archives, one after the other
grep -q /usr/bin/cocoon-agent "$root/etc/init.d/cocoon-agent" # the apk's
rm -f "$root.ext4"
mkfs.ext4 -q -d "$root" "$root.ext4" 1000M
