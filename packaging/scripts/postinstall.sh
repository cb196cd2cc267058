#!/bin/sh
# After an installation or an upgrade. A deb gives "configure" and the version before, an rpm the
# number of versions that are there. An agent that runs is never restarted: it may be what runs this.
set -e

first=no
case "$1" in
configure) [ -n "$2" ] || first=yes ;;
1) first=yes ;;
esac

command -v systemctl >/dev/null || exit 0
if [ "$first" = yes ]; then
	# In an image that is being built it only makes links.
	systemctl preset cocoon-agent.socket cocoon-agent.service >/dev/null 2>&1 || :
fi
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
if [ "$first" = yes ]; then
	systemctl start cocoon-agent.socket ||
		echo 'cocoon-agent: another program has the port: this agent begins at the next boot' >&2
elif systemctl --quiet is-active cocoon-agent.service; then
	echo 'cocoon-agent: the agent that runs goes on. The new version takes effect at the next boot, or with: systemctl restart cocoon-agent'
fi
