package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// An attr is an extended attribute. An ACL of POSIX is one, too.
type attr struct{ name, value string }

// maxAttrs bounds the names and values of one entry, in bytes. Linux has at most 64 KiB of each name list and value.
const maxAttrs = 512 << 10

// Names of attributes, those of Linux.
const (
	userAttrs     = "user."
	securityAttrs = "security."
	accessACL     = "system.posix_acl_access"
	defaultACL    = "system.posix_acl_default"
)

var errTooManyAttrs = fmt.Errorf("more than %d bytes of extended attributes", maxAttrs)

// keeps reports whether an attribute of that name is copied.
func (o *Options) keeps(name string) bool {
	switch {
	case strings.HasPrefix(name, userAttrs), name == accessACL, name == defaultACL:
		return o.XAttrs
	case strings.HasPrefix(name, securityAttrs):
		return o.Security
	}
	return false
}

// packAttrs returns attributes as the field of a frame: of each the length of the name, the
// name, the length of the value, and the value.
func packAttrs(attrs []attr) string {
	var b []byte
	for _, a := range attrs {
		for _, text := range []string{a.name, a.value} {
			b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
		}
	}
	return string(b)
}

// unpackAttrs is the other way round.
func unpackAttrs(packed string) ([]attr, error) {
	var attrs []attr
	for rest := packed; rest != ""; {
		var a attr
		for _, text := range []*string{&a.name, &a.value} {
			n, size := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
			if size <= 0 || n > uint64(len(rest)-size) {
				return nil, broken("extended attributes end early")
			}
			*text, rest = rest[size:][:n], rest[size:][n:]
		}
		if a.name == "" || len(a.name) > MaxName || strings.Contains(a.name, "\x00") {
			return nil, broken("extended attribute %q", a.name)
		}
		attrs = append(attrs, a)
	}
	return attrs, nil
}

// An attrNode is an open file or directory that may have attributes.
type attrNode interface {
	attrs(keep func(name string) bool) ([]attr, error)
	setAttr(a attr) error
	removeAttr(name string) error
}

// readAttrs adds the attributes of n to its frame.
func (s *Sender) readAttrs(f *Frame, n attrNode) error {
	if !s.Options.XAttrs && !s.Options.Security {
		return nil
	}
	attrs, err := n.attrs(s.Options.keeps)
	if err != nil {
		return fmt.Errorf("read the extended attributes: %w", err)
	}
	f.Attrs = packAttrs(attrs)
	return nil
}

// setAttrs gives n the attributes of f. It takes an ACL away that n has of its directory. An
// attribute that the file system does not have is reported, and the others are set. An ACL that
// cannot be set is an error: without it, the mode may allow more.
func (rc *Receiver) setAttrs(n attrNode, f *Frame, name string) error {
	if rc.Options.XAttrs {
		if err := n.removeAttr(accessACL); err != nil {
			return fmt.Errorf("remove the ACL: %w", err)
		}
	}
	attrs, err := unpackAttrs(f.Attrs)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		if !rc.Options.keeps(a.name) {
			return fmt.Errorf("extended attribute %q came, which nobody has asked for", a.name)
		}
		err := n.setAttr(a)
		switch {
		case err == nil:
		case errors.Is(err, errors.ErrUnsupported) && a.name != accessACL && a.name != defaultACL:
			rc.Report(&EntryError{
				Path: rc.path(name), Text: fmt.Sprintf("extended attribute %s: %v", a.name, err), Code: CodeUnsupported, Skipped: true,
			})
		default:
			return fmt.Errorf("set the extended attribute %s: %w", a.name, err)
		}
	}
	return nil
}
