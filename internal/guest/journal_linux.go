package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// journalTime is how long systemd may take to restart its journal.
const journalTime = 10 * time.Second

// renewJournal restarts systemd's journal, if it runs: it has read the machine-id when it
// began, and writes to a directory of that name, which journalctl(1) does not read any more. Streams of
// services that log to it stay. The note says how that went.
func renewJournal(root string) (note string) {
	systemctl := installed(root, "systemctl")
	if _, err := os.Stat(root + "/run/systemd/journal/socket"); err != nil || systemctl == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), journalTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, systemctl, "restart", "systemd-journald.service")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return "systemd-journald restarted"
	case ctx.Err() != nil:
		err = fmt.Errorf("not done within %v", journalTime)
	default:
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return fmt.Sprintf("systemd-journald writes under the old machine-id until it is restarted: %v", err)
}
