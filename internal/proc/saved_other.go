//go:build !linux

package proc

import (
	"fmt"
	"time"
)

var begun = time.Now()

func monotonic() time.Duration { return time.Since(begun) }

// errSaved is the error of all that lets another program go on with processes.
var errSaved = fmt.Errorf("%w: only an agent on Linux can be executed anew in place", ErrUnsupported)

func (*Process) suspend()                       {}
func (*Process) resume()                        {}
func (*Process) save() (*Saved, error)          { return nil, errSaved }
func (*Process) gone()                          {}
func (*Spawner) save() (*SavedSpawner, error)   { return nil, errSaved }
func (*Spawner) adopt(*Saved) (*Process, error) { return nil, errSaved }
func (*Spawner) restore(*SavedSpawner, []*Saved, func(int)) ([]string, error) {
	return nil, errSaved
}
