//go:build !linux

package guest

import "io/fs"

// ownedByAgent: hooks are Linux's.
func ownedByAgent(fs.FileInfo) bool { return false }
