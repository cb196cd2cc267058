//go:build !linux

package clone

import (
	"context"
	"errors"
)

type engine struct {
	way Way
	why error
}

func open(Config) *Engine { return &Engine{} }

func (*engine) start(context.Context, *Request) (*Child, error) { return nil, errors.ErrUnsupported }
func (*engine) moveIn() bool                                    { return false }
func (*engine) stuck() int                                      { return 0 }
func (*engine) close() error                                    { return nil }
