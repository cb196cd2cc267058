package files

import "fmt"

// setOwner adds the owner of an entry to its frame, if owners are kept.
func (s *Sender) setOwner(f *Frame, i *info) {
	if s.Options.Owner || s.Options.Numeric {
		f.UID, f.GID = i.uid, i.gid
		f.User, f.Group = s.owners.user(i.uid), s.owners.group(i.gid)
	}
}

// A node is an open file or directory.
type node interface {
	setOwner(uid, gid int) error
	setMode(mode uint64) error
	setTime(sec int64, ns uint64) error
}

// finishEntry gives an entry its metadata. The order matters: a new owner takes set-user-id and
// capabilities away, and a mode without write permission keeps a user from setting attributes.
func (rc *Receiver) finishEntry(n node, f *Frame, name string) error {
	if rc.owned() {
		if err := n.setOwner(rc.owners.ids(f, rc.Options.Numeric)); err != nil {
			return fmt.Errorf("set the owner: %w", err)
		}
	}
	if n, ok := n.(attrNode); ok && (rc.Options.XAttrs || rc.Options.Security || f.Attrs != "") {
		if err := rc.setAttrs(n, f, name); err != nil {
			return err
		}
	}
	if err := n.setMode(rc.mode(f)); err != nil {
		return fmt.Errorf("set the mode: %w", err)
	}
	if err := n.setTime(f.Sec, f.Nsec); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

func (rc *Receiver) owned() bool { return rc.Options.Owner || rc.Options.Numeric }

// mode is the mode that the entry of f gets. A directory keeps the sticky bit.
func (rc *Receiver) mode(f *Frame) uint64 {
	switch {
	case rc.Options.PreserveMode:
		return f.Mode
	case f.Kind == KindDir:
		return f.Mode & 0o1777
	default:
		return f.Mode & 0o777
	}
}
