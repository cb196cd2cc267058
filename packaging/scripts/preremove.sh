#!/bin/sh
# Before a removal, which may be run through the agent: it goes on, with its commands.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;; # an upgrade
esac
command -v systemctl >/dev/null || exit 0
systemctl --no-reload disable cocoon-agent.socket cocoon-agent.service >/dev/null 2>&1 || :
if [ -d /run/systemd/system ] && systemctl --quiet is-active cocoon-agent.service; then
	echo 'cocoon-agent: the agent that runs goes on until the next boot, or: systemctl stop cocoon-agent.socket cocoon-agent.service'
fi
