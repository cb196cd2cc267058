package kubelet

import (
	"container/list"
	"context"
	"errors"
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
	mu        sync.Mutex
	known     map[string]*list.Element // by address; of holders
	used      list.List                // the latest first
	changes   uint64                   // how many times an address went to a VM
	forgotten uint64                   // the latest change of a holder that was forgotten for lack of room
}

// A holder is the VM that has an address.
type holder struct {
	address  string // as client.Target writes it, if it is one
	spelling string // as the Resolver does
	identity string
	since    uint64 // the change that gave it the address
}

// maxResolves is how many times the Resolver is asked again when its answer is out of
// date.
const maxResolves = 2

// errStale says that another VM has got the address since the Resolver was asked:
// which of the two has it now, only the Resolver knows.
var errStale = errors.New("leads to another VM by now: nothing was started")

// reach returns the VM of a pod, and the connection to its agent. Answers of the
// Resolver may come in another order than they were made. An answer takes over another
// VM's address only if that VM had it when the Resolver was asked. The function usable
// returns an error if the VM cannot be used for what was asked; nil: it can be. The
// error is errElsewhere if the pod has a Fallback.
func (p *Pods) reach(
	ctx context.Context, namespace, pod, container string, usable func(*Target) error,
) (*Target, *client.Client, error) {
	for again := 0; ; again++ {
		asked := p.identities.now()
		t, err := p.resolve(ctx, namespace, pod, container)
		if err != nil {
			return nil, nil, err
		}
		if t.Fallback != nil {
			return t, nil, errElsewhere
		}
		if usable != nil {
			if err := usable(t); err != nil {
				return t, nil, err
			}
		}
		agent, err := p.agent(ctx, t, asked)
		if errors.Is(err, errStale) && again < maxResolves {
			continue
		}
		return t, agent, err
	}
}

// agent returns the connection to t's agent. The error wraps errStale if another VM
// has got the address since the change asked, when the Resolver was asked.
func (p *Pods) agent(ctx context.Context, t *Target, asked uint64) (*client.Client, error) {
	if t.Identity == "" {
		return p.pool.Get(ctx, t.Agent)
	}
	if !p.identities.claim(t, asked, p.pool.Forget) {
		return nil, fmt.Errorf("%s %w", t.Agent, errStale)
	}
	c, err := p.pool.Get(ctx, t.Agent)
	if err != nil {
		return nil, err
	}
	// The connection is this VM's if nothing has been forgotten since claim: if
	// another VM has claimed the address, Get may have returned its connection.
	if !p.identities.holds(t) {
		return nil, fmt.Errorf("%s %w", t.Agent, errStale)
	}
	return c, nil
}

// now returns the latest change, for claim.
func (i *identities) now() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changes
}

// claim notes that t's VM has its address. If another one had it, or which one had
// it was forgotten for lack of room, forget is called with the address, before
// anybody else can claim it. It returns false, and does nothing, if another one got
// the address after the change asked.
func (i *identities) claim(t *Target, asked uint64, forget func(target string)) bool {
	address := addressOf(t)
	i.mu.Lock()
	defer i.mu.Unlock()
	if e, ok := i.known[address]; ok {
		h := e.Value.(*holder)
		if h.identity != t.Identity {
			if h.since > asked {
				return false
			}
			forget(h.spelling)
			forget(t.Agent)
			i.changes++
			h.since = i.changes
		}
		i.used.MoveToFront(e)
		h.identity, h.spelling = t.Identity, t.Agent
		return true
	}
	if i.forgotten > asked {
		return false // it may have been this address
	}
	if i.known == nil {
		i.known = make(map[string]*list.Element)
	}
	if len(i.known) >= maxIdentities {
		oldest := i.used.Remove(i.used.Back()).(*holder)
		delete(i.known, oldest.address)
		i.forgotten = max(i.forgotten, oldest.since)
		forget(oldest.spelling) // else nobody would know whose connections they are
	}
	i.changes++
	i.known[address] = i.used.PushFront(&holder{address, t.Agent, t.Identity, i.changes})
	return true
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
