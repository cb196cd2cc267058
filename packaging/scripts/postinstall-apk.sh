#!/bin/sh
# After an installation. An agent that runs is not restarted.
[ -x /sbin/rc-update ] && rc-update add cocoon-agent default >/dev/null 2>&1
exit 0
