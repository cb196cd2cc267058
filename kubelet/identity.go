package kubelet

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/cocoonstack/cocoon-agent/client"
)

// maxIdentities is how many addresses an identities remembers. It is more than VMs
// of a node, and takes a few MiB.
const maxIdentities = 16 << 10

// An identities knows which VM has each address, so that no connection to one is
// used for another. The zero value is ready, and safe for concurrent use.
type identities struct {
	mu    sync.Mutex
	known map[string]*list.Element // by address; of holders
	used  list.List                // the latest first
}

// A holder is the VM that has an address.
type holder struct {
	address  string // as client.Target writes it, if it is one
	spelling string // as the Resolver does
	identity string
}

// agent returns the connection to t's agent.
func (p *Pods) agent(ctx context.Context, t *Target) (*client.Client, error) {
	if t.Identity == "" {
		return p.pool.Get(ctx, t.Agent)
	}
	p.identities.claim(t, p.pool.Forget)
	c, err := p.pool.Get(ctx, t.Agent)
	if err != nil {
		return nil, err
	}
	// The connection is this VM's if nothing has been forgotten since claim: if
	// another VM has claimed the address, Get may have returned its connection.
	if !p.identities.holds(t) {
		return nil, fmt.Errorf("%s leads to another VM by now: nothing was started", t.Agent)
	}
	return c, nil
}

// claim notes that t's VM has its address. If another one had it, or which one had
// it was forgotten for lack of room, forget is called with the address, before
// anybody else can claim it.
func (i *identities) claim(t *Target, forget func(target string)) {
	address := addressOf(t)
	i.mu.Lock()
	defer i.mu.Unlock()
	if e, ok := i.known[address]; ok {
		h := e.Value.(*holder)
		i.used.MoveToFront(e)
		if h.identity != t.Identity {
			forget(h.spelling)
			forget(t.Agent)
		}
		h.identity, h.spelling = t.Identity, t.Agent
		return
	}
	if i.known == nil {
		i.known = make(map[string]*list.Element)
	}
	if len(i.known) >= maxIdentities {
		oldest := i.used.Remove(i.used.Back()).(*holder)
		delete(i.known, oldest.address)
		forget(oldest.spelling) // else nobody would know whose connections they are
	}
	i.known[address] = i.used.PushFront(&holder{address, t.Agent, t.Identity})
}

// holds says whether t's VM still has its address.
func (i *identities) holds(t *Target) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	e, ok := i.known[addressOf(t)]
	return ok && e.Value.(*holder).identity == t.Identity
}

// addressOf returns the one form of an address that may be written in several ways.
func addressOf(t *Target) string {
	if parsed, err := client.ParseTarget(t.Agent); err == nil {
		return parsed.String()
	}
	return t.Agent // the pool's own Dial knows it
}
