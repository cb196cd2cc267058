#!/bin/bash
# start.sh is what a guest of exec.sh runs: the command in /command, whose output and
# exit status go out through a port each. The console is left to the kernel.
/bin/bash /command >/dev/vport0p1 2>&1
echo $? >/dev/vport0p2
