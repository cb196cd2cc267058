//go:build !linux

package cgroup

import "errors"

type pool struct{}

func open(func(int)) (*Pool, error) { return nil, errors.ErrUnsupported }

func (*pool) checkLimits() error          { return errors.ErrUnsupported }
func (*pool) take(Limits) (*Group, error) { return nil, errors.ErrUnsupported }
func (*pool) give(*Group)                 {}
func (*pool) countLeft() int              { return 0 }
func (*pool) close() error                { return nil }
func (*pool) directories() []string       { return nil }

func (*pool) save() *SavedPool { return nil }

func openSaved(*SavedPool, []*Saved, func(int)) (*Pool, []string, error) {
	return nil, nil, errors.ErrUnsupported
}

func adopt(*Saved) *Group { return nil }

type group struct {
	path  string
	fresh bool
	late  []struct{}
}

func (*group) fd() int           { return -1 }
func (*group) members() []int    { return nil }
func (*group) empty() bool       { return true }
func (*group) spoilt(error) bool { return true }
func (*group) kill()             {}
func (*group) setLate() error    { return nil }
func (*group) outOfMemory() bool { return false }
func (*group) save() *Saved      { return nil }
