#!/usr/bin/env bash
# install_test.sh tests install.sh in directories that it makes.
set -euo pipefail

cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
root=$dir/root
program=/bin/true
fail() {
	echo "install.sh: $*" >&2
	exit 1
}
# refuses TEXT ARGUMENT…: install.sh fails with that text.
refuses() {
	local text=$1 said
	shift
	if said=$(./install.sh "$@" 2>&1); then fail "$* is taken: $said"; fi
	[[ $said == *"$text"* ]] || fail "$*: $said, want $text"
}
# files: names and contents of all that is there.
files() { (cd "$root" && find . -type l -printf '%p %l\n' -o -type f -exec md5sum {} + | LC_ALL=C sort); }

# Twice is as once, and what was there comes back.
for system in systemd openrc runit s6 inittab none; do
	rm -rf "$root"
	mkdir -p "$root/etc/service" "$root/etc/services.d"
	printf '::askfirst:/bin/sh' >"$root/etc/inittab" # with no line end
	printf 'loop\n' >"$root/etc/modules"
	./install.sh --root "$root" --init "$system" "$program" >/dev/null
	once=$(files)
	[[ $once == *' ./usr/local/bin/cocoon-agent'* ]] || fail "$system: no program"
	./install.sh --root "$root/" --init "$system" "$program" >/dev/null
	[ "$(files)" = "$once" ] || fail "$system: a second run has changed something"
	echo '# mine' >>"$root/etc/default/cocoon-agent"
	./install.sh --root "$root" --uninstall >/dev/null
	left=$(cd "$root" && find . ! -type d | LC_ALL=C sort | tr '\n' ' ')
	[ "$left" = './etc/default/cocoon-agent ./etc/inittab ./etc/modules ' ] || fail "$system: after --uninstall there are $left"
	grep -q '^::askfirst:/bin/sh$' "$root/etc/inittab" || fail "$system: inittab: $(cat "$root/etc/inittab")"
done

# The init system is found out.
for there in systemd:lib/systemd/systemd openrc:sbin/openrc-run runit:usr/bin/runsvdir inittab:etc/inittab; do
	rm -rf "$root"
	mkdir -p "$root/$(dirname "${there#*:}")" "$root/etc/service"
	touch "$root/${there#*:}"
	[[ $(./install.sh --root "$root" "$program") == *"installed for ${there%%:*},"* ]] || fail "${there%%:*} is not found"
done
echo 'id:2:initdefault:' >"$root/etc/inittab"
refuses sysvinit --root "$root" "$program"
rm -rf "$root"
mkdir -p "$root"
refuses 'no init system found' --root "$root" "$program"

# A link in an image must not lead to files of this system.
for link in usr usr/local usr/local/bin etc/systemd etc/inittab; do
	rm -rf "$root"
	mkdir -p "$root/$(dirname "$link")" "$dir/elsewhere"
	echo kept >"$dir/elsewhere/file"
	target=$dir/elsewhere
	[ "$link" != etc/inittab ] || target=$dir/elsewhere/file
	ln -s "$target" "$root/$link"
	system=systemd
	[ "$link" != etc/inittab ] || system=inittab
	refuses 'may lead out' --root "$root" --init "$system" "$program"
	rm "$root/$link"
	ln -s ../../../elsewhere "$root/$link"
	refuses 'may lead out' --root "$root" --init "$system" "$program"
	[ "$(ls "$dir/elsewhere") $(cat "$dir/elsewhere/file")" = 'file kept' ] || fail "$link: $dir/elsewhere was written to"
done
rm -rf "$root"
mkdir -p "$root/usr/local/bin" "$root/etc"
ln -s "$dir/elsewhere/file" "$root/usr/local/bin/cocoon-agent.new"
./install.sh --root "$root" --init none "$program" >/dev/null
[ "$(cat "$dir/elsewhere/file")" = kept ] || fail 'a link in the way was followed'

# Options that make no sense.
refuses 'want a value' --root '' "$program"
refuses "--root $dir/none: no such directory" --root "$dir/none" "$program"
refuses 'unknown option --frob' --frob "$program"
refuses '--init busybox: want systemd' --root "$root" --init busybox "$program"
refuses '--root: want a value' --root
refuses 'begins with /' --root "$root" --init s6 --services etc "$program"
refuses 'no such directory' --root "$root" --init s6 --services "$root/etc" "$program"
refuses 'not a program' --root "$root" --init none ./README.md
refuses 'not there' --root "$root" --init none "$dir/none"
mkdir -p "$root/etc/service/cocoon-agent"
refuses 'there already' --root "$root" --init runit "$program"
rm "$root/usr/local/bin/cocoon-agent"
mkdir "$root/usr/local/bin/cocoon-agent"
refuses 'is a directory' --root "$root" --init none "$program"
rmdir "$root/usr/local/bin/cocoon-agent"
printf '# cocoon-agent: begin\nmine\n' >"$root/etc/inittab"
refuses 'do not pair' --root "$root" --uninstall
echo 'packaging/install.sh: ok'
