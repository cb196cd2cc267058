#!/bin/sh
# Before a removal, which may be run through the agent: it goes on.
[ -x /sbin/rc-update ] && rc-update del cocoon-agent default >/dev/null 2>&1
exit 0
