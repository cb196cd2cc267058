#!/usr/bin/env bash
# test.sh tests packages.sh: versions, equal bytes, and packages that are installed, upgraded and
# removed in root file systems, which it makes by debootstrap below bin/packages. Needs root,
# debootstrap, rpm, lintian, rpmlint, zip and Go.
set -euo pipefail

cd "$(dirname "$0")/.."
here=$PWD
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
ok() { echo "packages: $*: ok"; }
fail() {
	echo "packages: $*" >&2
	exit 1
}

# Versions.
for version in '' dev v0.3.0 0.2.9 0.3 0.3.0-rc.1 0.3.0-rc0 0.3.0-5-gd70c42a 01.3.0 d70c42a '0.3.0 '; do
	if packaging/packages.sh "$version" "$dir/none" 2>/dev/null; then fail "version \"$version\" is taken"; fi
done
ok 'other versions are refused'

# The same bytes: in a clone, and in a worktree beside an untracked directory with another umask and
# another name of the host.
git clone -q . "$dir/clone"
git -C "$dir/clone" worktree add -q "$dir/clone/inner" HEAD
mkdir "$dir/clone/inner/untracked"
"$dir/clone/packaging/packages.sh" 0.3.0 "$dir/first"
(umask 077 && unshare -u sh -c 'hostname elsewhere && exec "$@"' sh "$dir/clone/inner/packaging/packages.sh" 0.3.0 "$dir/second")
cmp "$dir/first/SHA256SUMS" "$dir/second/SHA256SUMS" || fail 'two builds differ'
(cd "$dir/first" && sha256sum --quiet -c SHA256SUMS)
GOENV=off make -s -C "$dir/clone" build
(umask 077 && unshare -u sh -c 'hostname elsewhere && exec "$@"' sh env GOENV=off make -s -C "$dir/clone/inner" build)
cmp "$dir/clone/bin/cocoon-agent" "$dir/clone/inner/bin/cocoon-agent" || fail 'two programs of make build differ'
ok "$(wc -l <"$dir/first/SHA256SUMS") files, equal twice"

# The order of versions.
versions=(0.3.0-rc1 0.3.0 0.3.0+5.gd70c42a 0.3.1)
for version in "${versions[@]}"; do PLATFORMS=linux/amd64 packaging/packages.sh "$version" "$dir/$version"; done
before=0.2.0 rpmbefore=0.2.0
for version in "${versions[@]}"; do
	deb=$(dpkg-deb -f "$dir/$version"/*.deb Version)
	rpm=$(rpm -qp --qf '%{VERSION}-%{RELEASE}' "$dir/$version"/*.rpm 2>/dev/null)
	dpkg --compare-versions "$before" lt "$deb" || fail "deb: $before is not before $deb"
	[ "$(rpm --eval "%{lua:print(rpm.vercmp('$rpmbefore', '$rpm'))}")" -lt 0 ] || fail "rpm: $rpmbefore is not before $rpm"
	apk=$(tar xzOf "$dir/$version"/*.apk .PKGINFO 2>/dev/null | sed -n 's/^pkgver = //p') || :
	[[ $apk =~ ^[0-9]+\.[0-9]+\.[0-9]+(_rc[0-9]+|_p[0-9]+)?$ ]] || fail "apk: version $apk"
	before=$deb rpmbefore=$rpm
done
ok "order: ${versions[*]}"

# Manual pages.
for page in docs/man/*.1; do
	mandoc -Tlint -W warning "$page" || fail "$page"
	said=$(LC_ALL=C.UTF-8 man --warnings -l "$page" 2>&1 >/dev/null)
	[ -z "$said" ] || fail "$page: $said"
done
ok 'manual pages'
packaging/completions_test.sh

# Checks of the distributions. A reason for what is left out: the program is static.
lintian --fail-on error --suppress-tags statically-linked-binary,no-changelog,copyright-without-copyright-notice,no-copyright-file,debian-changelog-file-missing "$dir/0.3.0"/*.deb
ok lintian
rpmlint --strict -c packaging/rpmlint.toml "$dir/0.3.0"/*.rpm >"$dir/rpmlint.log" || { cat "$dir/rpmlint.log" >&2; fail rpmlint; }
ok rpmlint
files=$(tar tzf "$dir/0.3.0"/*.apk 2>/dev/null) || : # three archives, one after the other
grep -q -x etc/init.d/cocoon-agent <<<"$files" || fail 'the apk has no script for OpenRC'
if grep systemd <<<"$files"; then fail 'the apk has units of systemd'; fi
ok 'apk'

# An rpm in an empty root.
mkdir -p "$dir/rpmroot"
rpm --root "$dir/rpmroot" --initdb
rpm --root "$dir/rpmroot" --nodeps --noscripts -i "$dir/0.3.0"/*.rpm
rpm --root "$dir/rpmroot" --nodeps -V cocoon-agent
rpm --root "$dir/rpmroot" --nodeps --noscripts -e cocoon-agent
[ ! -e "$dir/rpmroot/usr/bin/cocoon-agent" ] || fail 'rpm -e has left the program'
ok 'rpm -i, -V, -e'

# A deb in a Debian without a service manager that runs, as images are built: with /proc, and without.
base=$here/bin/packages/bookworm
if [ ! -d "$base" ]; then
	# shellcheck disable=SC2016 # apt fills them in
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 !~ /-/ { print $1; exit }')
	mkdir -p "$here/bin/packages"
	rm -rf "$base.begun"
	debootstrap --variant=minbase --include=systemd,systemd-sysv bookworm "$base.begun" "$mirror" >"$dir/debootstrap.log" || {
		tail -n 20 "$dir/debootstrap.log" >&2
		exit 1
	}
	mv "$base.begun" "$base"
fi

# inside PROC COMMAND…: runs a command in the root, with /proc or without.
inside() {
	local proc=$1
	shift
	# shellcheck disable=SC2016 # the inner shell expands it
	unshare -mpf bash -c 'root=$1 proc=$2; shift 2; [ "$proc" = no ] || mount -t proc proc "$root/proc"; exec chroot "$root" "$@"' inside "$dir/root" "$proc" "$@"
}
linked() { [ -L "$dir/root/etc/systemd/system/sockets.target.wants/cocoon-agent.socket" ]; }
for proc in yes no; do
	rm -rf "$dir/root"
	cp -a "$base" "$dir/root"
	cp "$dir/0.3.0"/*.deb "$dir/root/old.deb"
	cp "$dir/0.3.1"/*.deb "$dir/root/new.deb"
	inside "$proc" dpkg -i /old.deb >/dev/null
	linked || fail "proc $proc: dpkg -i has not enabled the socket"
	echo 'AGENT_LOG_LEVEL=debug' >>"$dir/root/etc/default/cocoon-agent"
	inside "$proc" dpkg -i /new.deb >/dev/null
	linked || fail "proc $proc: the upgrade has disabled the socket"
	grep -q debug "$dir/root/etc/default/cocoon-agent" || fail "proc $proc: the upgrade has lost the settings"
	[ "$(inside "$proc" cocoon-agent version | head -n 1)" = 'cocoon-agent 0.3.1' ] || fail "proc $proc: the upgrade has not replaced the program"
	inside "$proc" dpkg -i /old.deb >/dev/null 2>&1 # a downgrade
	inside "$proc" dpkg -r cocoon-agent >/dev/null
	if linked; then fail "proc $proc: dpkg -r has left the socket enabled"; fi
	[ -e "$dir/root/etc/default/cocoon-agent" ] || fail "proc $proc: dpkg -r has removed the settings"
	inside "$proc" dpkg -P cocoon-agent >/dev/null
	[ ! -e "$dir/root/etc/default/cocoon-agent" ] || fail "proc $proc: dpkg -P has left the settings"
	ok "deb, proc $proc: install, upgrade, downgrade, remove, purge"
done
