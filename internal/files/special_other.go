//go:build !linux

package files

import "errors"

func (*dir) mknod(string, Kind, uint64, uint64) error { return errors.ErrUnsupported }

type nodeFile struct{}

func (*dir) openNode(string, *Frame) (*nodeFile, error) { return nil, errors.ErrUnsupported }

func (*nodeFile) close()                      {}
func (*nodeFile) setMode(uint64) error        { return errors.ErrUnsupported }
func (*nodeFile) setOwner(int, int) error     { return errors.ErrUnsupported }
func (*nodeFile) setTime(int64, uint64) error { return errors.ErrUnsupported }
