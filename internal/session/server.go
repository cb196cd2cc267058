// Package session is the agent's side of a connection: it greets the host,
// carries out its requests, and runs one process for each exec, with its
// streams. It owns the policy of what happens to processes when hosts go away.
//
// A [Server] serves connections; a connection dispatches requests; an execution
// is one exec from its request to its exit. Ends go from the outside in: Shutdown ends
// the connections, a connection's end ends its executions, an execution's end reaps its
// process.
package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// reportTime is how long, at shutdown, hosts have to take what is left of the
// output and the exit of a process that has ended.
var reportTime = 2 * time.Second

// thawTime is how long a shutdown waits for a guest that holds still to go on.
const thawTime = 2 * time.Second

// cutTime is how long connections may take to end that have been cut.
const cutTime = 10 * time.Second

// Config is what a Server needs.
type Config struct {
	Log     zerolog.Logger // what becomes of the agent and of connections
	Audit   zerolog.Logger // what hosts ask for, and what becomes of that
	Spawner *proc.Spawner
	Version string // of the software

	// Recording is called before an exec, a forward or a reseed is recorded, and what
	// it returns after that. nil: nothing is waited for.
	Recording func() Recorded

	// Admit says who is at the other end of a connection, and with an error
	// that it may not connect. It must neither read from it nor block.
	Admit func(net.Conn) (Peer, error)

	// OwnSocket says whether a Unix socket that is bound to a name is the agent's
	// own, to which no forward leads. nil: none is.
	OwnSocket func(name string) bool

	// Hooks is a directory with directories of programs that the agent runs: resume.d at the end
	// of each reseed. Empty: none.
	Hooks string

	// Resumed is called, on any goroutine, after each reseed that has succeeded: the VM is
	// one of its own from then on, and the agent another one for hosts. nil: nobody is told.
	Resumed func()

	// ShutdownGrace is how long running processes have between SIGTERM and
	// SIGKILL when the server shuts down. 0: SIGKILL at once.
	ShutdownGrace time.Duration

	Quotas   Quotas
	Ceilings Ceilings
	Policy   Policy
	LogArgs  bool // the audit log has the arguments of execs, and the paths of files

	// FilesWorker returns the command that carries out a files request: frames on its
	// standard input and output, and one line on its standard error. nil: there are no files.
	FilesWorker func(*wire.Files) []string

	// Guard is the command of a [freeze.Guard]. nil: there is no quiesce.
	Guard []string

	// FreezeRecord is the file that has what is frozen, for the next agent. Empty: there is none.
	FreezeRecord string

	// HoldLog has the loggers write nothing until release is called. nil: they always may.
	HoldLog func() (release func())

	DisableV1 bool // hosts that speak protocol version 1 are refused
}

// A Peer is who is at the other end of a connection.
type Peer struct {
	Name  string // for the log
	Class string // of those who are the same host to the agent; others do not see its execs
}

// A Server serves connections from hosts. It is safe for concurrent use.
//
//	serving → closing (Shutdown) → closed
type Server struct {
	Config

	quotas   Quotas // with defaults
	quota    *mux.Quota
	lines    v1.Memory // for long lines of version-1 hosts
	shares   shares    // of execs, and of forwards, on all connections
	forwards forwardCounter
	jobs     *job.Table
	reseeds  atomic.Int32
	agentID  atomic.Pointer[[]byte]

	records tally // of what hosts may ask for as often as they like
	peers   tally // that are not admitted

	begun   time.Time
	refused atomic.Uint64 // peers

	held      atomic.Pointer[chan struct{}] // by Hold; closed by Release; nil: it is not
	suspended bool                          // the jobs are. Hold's and Release's

	stopping chan struct{} // closed with closing
	moved    chan struct{} // has a token when a connection has got on

	quieting sync.Mutex                  // one quiesce is carried out at a time
	latest   *quiet                      // guarded by quieting; nil: there was none
	quiesces atomic.Int32                // requests
	thaws    atomic.Int32                // requests
	quiet    atomic.Pointer[quiet]       // nil: the guest does not hold still, and is not about to
	thawed   atomic.Pointer[wire.Thawed] // how the latest quiet has ended; nil: none has
	settling atomic.Int32                // quiets whose hooks after them have not ended
	guards   atomic.Int32                // processes

	reseeding sync.Mutex    // one clone is made a machine of its own at a time
	resumes   atomic.Uint64 // how many times that has succeeded

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]bool
	conns     map[*conn]bool
	arrivals  uint64
	serving   sync.WaitGroup // connections, counted under mu while not closing
}

// NewServer returns a Server that serves what [Server.Serve] is given.
func NewServer(c Config) *Server {
	s := &Server{
		Config:    c,
		begun:     time.Now(),
		quotas:    c.Quotas.withDefaults(),
		quota:     mux.NewQuota(c.Quotas.QuotaConfig),
		stopping:  make(chan struct{}),
		moved:     make(chan struct{}, 1),
		listeners: make(map[net.Listener]bool),
		conns:     make(map[*conn]bool),
		jobs:      job.NewTable(c.Spawner, c.Quotas.Keeping),
	}
	s.shares = newShares(s.quotas)
	s.records = tally{most: recordsOfAKind, report: func(kind string, leftOut uint64) {
		s.Audit.Warn().Str("kind", kind).Uint64("left_out", leftOut).Msg("log records suppressed")
	}}
	s.peers = tally{most: 1, report: func(kind string, leftOut uint64) {
		s.Log.Warn().Str("peer", kind).Uint64("more", leftOut).Msg("peers refused")
	}}
	s.newAgentID()
	return s
}

// agentIDSize is the length of an agent's id in bytes.
const agentIDSize = 16

// newAgentID makes the agent one that hosts have not met.
func (s *Server) newAgentID() {
	id := make([]byte, agentIDSize)
	_, _ = rand.Read(id) // never fails
	s.agentID.Store(&id)
	s.jobs.ForgetKeys() // what has started belongs to another one
}

// An Identity is who an agent is for hosts.
type Identity struct {
	AgentID []byte // another one after each reseed that has succeeded
	BootID  string
	Resumes uint64 // how many reseeds have succeeded
}

// Identity returns the agent's, as hello has it.
func (s *Server) Identity() Identity {
	return Identity{AgentID: *s.agentID.Load(), BootID: guest.BootID(), Resumes: s.resumes.Load()}
}

// A Recorded waits until a record is where it cannot be lost with the agent, and
// returns true and nil, or true and why it cannot be brought there: then the request is
// refused. If that takes too long it calls late on another goroutine, which goes on
// with the request, and returns false, perhaps much later.
type Recorded func(late func(error)) (settled bool, err error)

// recording is Recording with the error that answers a request.
func (s *Server) recording() Recorded {
	if s.Recording == nil {
		return func(func(error)) (bool, error) { return true, nil }
	}
	recorded := s.Recording()
	return func(late func(error)) (bool, error) {
		settled, err := recorded(func(err error) { late(unrecorded(err)) })
		return settled, unrecorded(err)
	}
}

func unrecorded(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: cannot write the audit record: %w", errLimit, err)
}

// ErrClosed is returned by [Server.Serve] after Shutdown.
var ErrClosed = errors.New("server is shut down")

// Serve accepts connections from ln and serves them until Shutdown, and then
// returns [ErrClosed], or until ln fails. It closes ln. Connections outlive it.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	if !s.addListener(ln) {
		return ErrClosed
	}
	defer s.removeListener(ln)
	var delay time.Duration
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			delay = 0
			s.admit(nc)
		case s.isClosing():
			return ErrClosed
		case errors.Is(err, os.ErrDeadlineExceeded): // by Hold
			s.awaitRelease()
		case isTemporary(err):
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.Log.Error().Err(err).Dur("retry_in", delay).Msg("accept failed")
			select {
			case <-time.After(delay):
			case <-s.stopping:
			}
		default:
			return err
		}
	}
}

// admit serves a connection of somebody who may connect, once there is room.
func (s *Server) admit(nc net.Conn) {
	peer, err := s.Admit(nc)
	if err != nil {
		_ = nc.Close()
		s.Refused(peer, err)
		return
	}
	s.awaitRoom()
	s.start(nc, peer)
}

// Refused leaves a record of a peer that may not connect, or counts it. A
// listener that refuses peers itself calls it.
func (s *Server) Refused(peer Peer, err error) {
	s.refused.Add(1)
	if s.peers.count(peer.Class) {
		s.Log.Warn().Str("peer", peer.Name).Err(err).Msg("peer refused")
	}
}

// isTemporary says whether a later accept may succeed: the process or the
// system is out of descriptors or memory, or the peer gave up.
func isTemporary(err error) bool {
	for _, passing := range []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.ECONNABORTED} {
		if errors.Is(err, passing) {
			return true
		}
	}
	var ne interface{ Temporary() bool }
	return errors.As(err, &ne) && ne.Temporary()
}

// start serves nc on a goroutine of its own, which Shutdown stops and waits for.
func (s *Server) start(nc net.Conn, peer Peer) {
	c := newConn(s, nc, peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		_ = nc.Close()
		return
	}
	if s.isHeld() != nil {
		c.turnAway(wire.ShuttingDown, errUpgrade.Error())
		return
	}
	s.arriveLocked(c)
	s.serving.Add(1)
	go s.serve(c)
}

func (s *Server) serve(c *conn) {
	defer s.serving.Done()
	c.serve()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.noteMoved()
}

// Shutdown stops accepting connections and execs, ends every running process
// tree (SIGTERM, after ShutdownGrace SIGKILL), lets each host have its exit,
// and closes the connections. It returns when all that is done, or an error that
// wraps ctx's soon after that has ended: what is left has then been cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.goOn("shutdown", time.After(thawTime)) // what is frozen gets no signal
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.stopping)
	}
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for c := range s.conns {
		c.beginShutdown()
	}
	s.mu.Unlock()
	s.jobs.Terminate(job.Shutdown, s.ShutdownGrace) // those that their connections have left, too
	defer s.peers.flush()
	defer s.records.flush()

	done := make(chan struct{})
	go func() { // ends when the connections and the jobs have
		s.serving.Wait()
		s.jobs.Wait()
		s.awaitSettled(ctx)
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
	select {
	case <-done:
		return ctx.Err()
	case <-time.After(cutTime):
		return fmt.Errorf("%w: connections still open after they were closed", ctx.Err())
	}
}

// Hurry has a Shutdown that is under way kill the process trees that it has asked to
// end. It does not wait.
func (s *Server) Hurry() { s.jobs.Terminate(job.Shutdown, 0) }

// isClosing takes no lock: Shutdown holds s.mu while it asks for those of the
// connections, and one of them may be held here.
func (s *Server) isClosing() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

func (s *Server) addListener(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.listeners[ln] = true
	return true
}

func (s *Server) removeListener(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}
