//go:build !linux && !darwin

package ttymode

import "errors"

func of(int) (Modes, error) { return nil, errors.ErrUnsupported }

func setModes(int, Modes) error { return errors.ErrUnsupported }
