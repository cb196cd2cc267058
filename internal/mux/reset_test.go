package mux_test

import (
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

func TestOnResetIsCalledOnce(t *testing.T) {
	for name, early := range map[string]bool{"before the reset": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			host, err := p.host.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := host.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			agent, err := p.agent.Claim(host.ID())
			if err != nil {
				t.Fatal(err)
			}
			called := make(chan struct{}, 2)
			if early {
				agent.OnReset(func() { called <- struct{}{} })
			}
			host.Reset()
			host.Reset()
			for err == nil { // until the reset has come
				_, err = agent.Read(make([]byte, 1))
			}
			if !early {
				agent.OnReset(func() { called <- struct{}{} })
			}
			<-called
			_, _ = p.host.Close(), p.agent.Close()
			if len(called) > 0 {
				t.Error("it was called twice")
			}
		})
	}
}

// Neither the end of the stream nor that of the session is a reset.
func TestOnResetIsNotCalledForAnEnd(t *testing.T) {
	p := newPair(t)
	var agents []*mux.Stream
	for range 2 {
		host, err := p.host.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := host.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		agent, err := p.agent.Claim(host.ID())
		if err != nil {
			t.Fatal(err)
		}
		agent.OnReset(func() { t.Error("called") })
		agents = append(agents, agent)
		if len(agents) == 1 {
			_ = host.Close()
		}
	}
	_ = p.host.Close()
	for _, agent := range agents {
		for err := error(nil); err == nil; {
			_, err = agent.Read(make([]byte, 1))
		}
	}
}
