package guest

import (
	"bytes"
	"os"
	"testing"
)

func TestJournalIsRestartedIfItRuns(t *testing.T) {
	const socket, systemctl = "run/systemd/journal/socket", "usr/bin/systemctl"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"it does not run": {map[string]string{systemctl: "#!/bin/sh\nexit 0\n"}, ""},
		"no systemctl":    {map[string]string{socket: ""}, ""},
		"it runs": {
			map[string]string{socket: "", systemctl: "#!/bin/sh\n[ \"$*\" = 'restart systemd-journald.service' ]\n"},
			"systemd-journald restarted",
		},
		"it fails": {
			map[string]string{socket: "", systemctl: "#!/bin/sh\necho 'no bus'\nexit 4\n"},
			"systemd-journald writes under the old machine-id until it is restarted: exit status 4: no bus",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := renewJournal(tree(t, test.files)); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestNewMachineIDTellsTheJournal(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/machine-id": "old\n", "run/systemd/journal/socket": "",
		"usr/bin/systemctl": "#!/bin/sh\ncat $(dirname $0)/../../etc/machine-id >$(dirname $0)/seen\n",
	})
	if changed, note, err := renewMachineID(root, entropy); !changed || note != "systemd-journald restarted" || err != nil {
		t.Errorf("renewMachineID = %t, %q, %v, want true and a restart of journald", changed, note, err)
	}
	seen, err := os.ReadFile(root + "/usr/bin/seen")
	now, nowErr := os.ReadFile(root + "/etc/machine-id")
	if err != nil || nowErr != nil || !bytes.Equal(seen, now) || string(now) == "old\n" {
		t.Errorf("the journal was restarted with %q, the machine-id is %q", seen, now)
	}
}
