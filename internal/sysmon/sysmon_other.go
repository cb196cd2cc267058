//go:build !linux

package sysmon

import "errors"

func relax() error { return errors.ErrUnsupported }
