//go:build !linux

package files

import "errors"

func (*file) attrs(func(string) bool) ([]attr, error) { return nil, errors.ErrUnsupported }
func (*file) setAttr(attr) error                      { return errors.ErrUnsupported }
func (*file) removeAttr(string) error                 { return nil }

func (*dir) attrs(func(string) bool) ([]attr, error) { return nil, errors.ErrUnsupported }
func (*dir) setAttr(attr) error                      { return errors.ErrUnsupported }
func (*dir) removeAttr(string) error                 { return nil }
