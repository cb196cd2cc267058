package main

import (
	"bytes"
	"testing"
	"testing/synctest"
)

func TestGateHoldsOutputBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen bytes.Buffer
		g := newGate(&screen)
		go func() { _, _ = g.Write([]byte("30 100\r\n")) }() // ends with open
		synctest.Wait()
		if screen.Len() > 0 {
			t.Errorf("%q is shown before the gate is open", &screen)
		}
		g.open()
		g.open()
		synctest.Wait()
		if got := screen.String(); got != "30 100\r\n" {
			t.Errorf("%q is shown, want the output", got)
		}
	})
}
