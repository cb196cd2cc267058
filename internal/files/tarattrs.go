package files

import (
	"archive/tar"
	"errors"
	"maps"
	"slices"
	"strings"
)

// paxAttrs begins the names of extended attributes in PAX records, as GNU tar and star write them.
const paxAttrs = "SCHILY.xattr."

// attrs returns the PAX records of f's extended attributes, which frames have checked.
func (t *archive) attrs(f *Frame) map[string]string {
	records := make(map[string]string)
	attrs, _ := unpackAttrs(f.Attrs)
	for _, a := range attrs {
		switch {
		case strings.Contains(a.name, "="):
			_ = t.rc.fail(t.path(f.Name), errors.New("a tar stream cannot have the extended attribute "+a.name))
		case t.rc.Options.keeps(a.name):
			records[paxAttrs+a.name] = a.value
		}
	}
	return records
}

// attrs returns the extended attributes of an entry, those that are kept.
func (u *untar) attrs(h *tar.Header) string {
	var attrs []attr
	size := 0
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		name, ok := strings.CutPrefix(key, paxAttrs)
		if !ok || len(name) > MaxName || !u.s.Options.keeps(name) {
			continue
		}
		if size += len(name) + len(h.PAXRecords[key]); size > maxAttrs {
			_ = u.s.fail(h.Name, errTooManyAttrs)
			break
		}
		attrs = append(attrs, attr{name, h.PAXRecords[key]})
	}
	return packAttrs(attrs)
}
