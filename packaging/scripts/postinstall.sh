#!/bin/sh
# After an installation or an upgrade. A deb gives "configure" and the version before, an rpm the
# number of versions that are there. An agent that runs is never restarted: it may be what runs this.
# It is upgraded in place, unless that would end commands.
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
	if said=$(/usr/bin/cocoon-agent upgrade 2>&1); then
		echo "cocoon-agent: $said"
	else
		echo "cocoon-agent: the agent that runs goes on: ${said#cocoon-agent: }"
		echo 'cocoon-agent: the new version takes effect with: systemctl reload cocoon-agent. It ends no command'
	fi
fi
