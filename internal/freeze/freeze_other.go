//go:build !linux

package freeze

import (
	"errors"
	"os"
	"time"
)

type guard struct{ ended, gone chan struct{} }

func start([]string, Request) (*Guard, error) { return nil, errors.ErrUnsupported }
func (*guard) freeze() ([]Step, error)        { return nil, errors.ErrUnsupported }
func (*guard) extend(time.Duration)           {}
func (*guard) thaw()                          {}
func (*guard) outcome() (End, error)          { return GuardEnd, errors.ErrUnsupported }
func recoverFrom(string) (Recovered, error)   { return Recovered{}, errors.ErrUnsupported }
func serve(_, _ *os.File) int                 { return 1 }
