package job

import (
	"bytes"
)

// A keyName is a key among those of all classes.
type keyName struct{ class, key string }

// Claim makes the job the one that its key names, or returns the job that the key names
// already. It is called after Keep, before Start. The error is [ErrOtherRequest].
func (j *Job) Claim() (known *Job, err error) {
	if j.kept == nil || len(j.kept.Key) == 0 {
		return nil, nil //nolint:nilnil // no other job is known
	}
	t := j.table
	t.mu.Lock()
	defer t.mu.Unlock()
	name := keyName{j.Class, string(j.kept.Key)}
	switch known = t.keys[name]; {
	case known == nil:
		t.keys[name] = j
		return nil, nil //nolint:nilnil // likewise
	case !bytes.Equal(known.kept.Request[:], j.kept.Request[:]):
		return nil, ErrOtherRequest
	default:
		return known, nil
	}
}

// ForgetKeys has no key name a job any more. The jobs go on.
func (t *Table) ForgetKeys() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.keys)
}

// unclaim frees the job's key, if it has it.
func (t *Table) unclaim(j *Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unclaimLocked(j)
}

func (t *Table) unclaimLocked(j *Job) {
	if j.kept == nil || len(j.kept.Key) == 0 {
		return
	}
	name := keyName{j.Class, string(j.kept.Key)}
	if t.keys[name] == j {
		delete(t.keys, name)
	}
}

// claimed reports whether the job's key names it.
func (j *Job) claimed() bool {
	t := j.table
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(j.kept.Key) > 0 && t.keys[keyName{j.Class, string(j.kept.Key)}] == j
}

// claim has the key of k name j.
func (t *Table) claim(j *Job, k *kept) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys[keyName{j.Class, string(k.Key)}] = j
}
