package freeze

import (
	"slices"
	"strings"
	"testing"
)

const someMounts = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:5 / /dev rw,nosuid - devtmpfs udev rw
24 22 0:20 / /run rw,nosuid - tmpfs tmpfs rw
25 22 8:2 / /srv\040data rw - xfs /dev/vdb rw
26 22 8:1 /var/lib /mnt/bind rw - ext4 /dev/vda1 rw
27 22 8:1 /etc/hosts /etc/hosts rw - ext4 /dev/vda1 rw
28 22 8:3 / /cdrom ro - iso9660 /dev/sr0 ro
29 25 7:0 / /srv\040data/image rw - btrfs /dev/loop0 rw,subvol=/
30 25 7:0 /sub /srv\040data/sub rw - btrfs /dev/loop0 rw,subvol=/sub
31 22 0:40 / /merged rw - overlay overlay rw,lowerdir=/a,upperdir=/b
32 22 0:41 / /share rw - virtiofs share rw
33 22 0:42 / /sshfs rw - fuse.sshfs host: rw
34 22 8:4 / /ro ro - ext4 /dev/vdc rw
`

var nodev = diskless("nodev\ttmpfs\nnodev\tdevtmpfs\nnodev\toverlay\nnodev\tvirtiofs\nnodev\tfuse\n\text4\n\txfs\n\tbtrfs\n\tiso9660\n")

func TestMountsAreFrozenFromTheInside(t *testing.T) {
	points, special := choose(parseMounts(someMounts), nodev, func(m mount) reached {
		switch m.point {
		case "/ro":
			return unreachable
		case "/etc/hosts":
			return aFile
		default:
			return aDirectory
		}
	}, func(mount) []string { return nil })
	want := []point{{"/srv data/image", "7:0"}, {"/srv data", "8:2"}, {"/", "8:1"}}
	if !slices.Equal(points, want) {
		t.Errorf("frozen are %q, want %q", points, want)
	}
	if said := strings.Join(special, ", "); said != "overlay at /merged cannot be frozen, virtiofs at /share cannot be frozen, fuse.sshfs at /sshfs cannot be frozen, "+
		"ext4 at /ro is hidden by another mount, and not frozen" {
		t.Errorf("special: %s", said)
	}
}

// The order of the mounts says nothing in a mount namespace that is a copy.
func TestMountsInFilesAreFrozenFirst(t *testing.T) {
	on := map[string][]string{"8:1": {"7:0"}, "8:2": {"8:1", "8:3"}}
	points, _ := choose(parseMounts(someMounts), nodev, func(mount) reached { return aDirectory }, func(m mount) []string { return on[m.device] })
	want := []point{{"/srv data", "8:2"}, {"/", "8:1"}, {"/ro", "8:4"}, {"/srv data/image", "7:0"}}
	if !slices.Equal(points, want) {
		t.Errorf("frozen are %q, want %q", points, want)
	}
}

func TestNewGenerationIsTheKernelsEvent(t *testing.T) {
	const event = "change@/devices/platform/vmgenid\x00ACTION=change\x00SUBSYSTEM=platform\x00"
	for text, want := range map[string]bool{event + "NEW_VMGENID=1\x00SEQNUM=7\x00": true, event + "SEQNUM=7\x00": false, event + "SYNTH_ARG_NEW_VMGENID=1\x00": false} {
		if got := isNewGeneration([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
