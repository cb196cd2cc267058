#!/usr/bin/env bash
# openssh.sh DIRECTORY unpacks OpenSSH there, for bench -openssh. An installed
# openssh-server would run as a daemon of this machine.
set -euo pipefail

into=$1
if [ -x "$into/usr/sbin/sshd" ]; then
	exit
fi
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
chmod 755 "$packages" # apt downloads as another user
(cd "$packages" && apt-get -qq download openssh-client openssh-server libwrap0)
mkdir -p "$into"
for package in "$packages"/*.deb; do
	dpkg -x "$package" "$into"
done
