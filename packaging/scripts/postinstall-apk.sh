#!/bin/sh
# After an installation. An agent that runs is not restarted. It is upgraded in place, unless that
# would end commands.
[ -x /sbin/rc-update ] && rc-update add cocoon-agent default >/dev/null 2>&1
[ -S /run/cocoon-agent/control.sock ] && /usr/bin/cocoon-agent upgrade
exit 0
