package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A caller is who is at the other end of a connection, with the loggers that name them.
// It outlives the connection, since execs may.
type caller struct {
	peer  Peer
	log   zerolog.Logger
	audit zerolog.Logger
}

func newCaller(s *Server, peer Peer) *caller {
	return &caller{
		peer:  peer,
		log:   s.Log.With().Str("peer", peer.Name).Logger(),
		audit: s.Audit.With().Str("peer", peer.Name).Logger(),
	}
}

// A conn is one connection from a host.
type conn struct {
	*caller
	server *Server
	net    net.Conn

	arrival uint64 // of all connections, in which order
	begun   time.Time
	stage   stage // guarded by the server's mu

	old     *v1.Host // stands for a version-1 host; nil: none is needed
	mux     *mux.Session
	session atomic.Pointer[mux.Session] // the same, for cut
	control *mux.Stream

	replies  *replyQueue
	replying sync.WaitGroup // the goroutine that sends them

	mu       sync.Mutex
	greeted  bool // mux and control are set, and requests are read
	draining bool // no new execs: the server is shutting down, or the host is gone
	tasks    map[uint64]worker
	forwards int            // of the tasks
	running  sync.WaitGroup // tasks that have not left it, and reseeds, counted under mu while not draining
	timeout  *time.Timer    // of a shutdown
	idle     chan struct{}  // closed by a shutdown when no task is left, or by an upgrade
	parting  error          // why it was closed; set before
}

func newConn(s *Server, nc net.Conn, peer Peer) *conn {
	return &conn{
		caller:  newCaller(s, peer),
		server:  s,
		net:     nc,
		begun:   time.Now(),
		replies: newReplyQueue(),
		tasks:   make(map[uint64]worker),
		idle:    make(chan struct{}),
	}
}

// serve is the whole life of a connection.
func (c *conn) serve() {
	defer c.close()
	if err := c.greet(); err != nil {
		level := zerolog.WarnLevel
		if errors.Is(err, io.EOF) || errors.Is(err, errShutdown) {
			level = zerolog.DebugLevel // nobody has asked for anything
		}
		if c.server.records.count("connection refused " + c.peer.Class) {
			c.log.WithLevel(level).Err(err).Msg("connection refused")
		}
		return
	}
	c.log.Debug().Msg("connected")
	err := c.dispatch()
	level := zerolog.DebugLevel
	if c.broken(err) {
		level = zerolog.WarnLevel
	}
	if level == zerolog.DebugLevel || c.server.records.count("disconnected "+c.peer.Class) {
		c.log.WithLevel(level).Err(err).Msg("disconnected")
	}
	c.end(err)
}

func (c *conn) close() {
	_ = c.net.Close()
	if c.old != nil {
		c.old.Wait()
	}
}

// broken says whether a connection that ended for err is worth a warning: it
// broke a rule, or was lost under running processes.
func (c *conn) broken(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tasks) > 0 || kindOf(err) == wire.Limit || !errors.Is(err, io.EOF) && !errors.Is(err, mux.ErrLost) && !errors.Is(err, errShutdown)
}

// greet brings a connection to where requests are read.
func (c *conn) greet() error {
	g, err := c.readGreeting()
	if err == nil {
		err = c.server.preface(c, g.stage())
	}
	if err != nil {
		g.drop()
		refuse(c.net, err)
		return err
	}
	nc := g.conn(c)
	if old, ok := nc.(*v1.Host); ok {
		c.old = old
		c.log = c.log.With().Int("protocol", v1.Version).Logger()
		c.audit = c.audit.With().Int("protocol", v1.Version).Logger()
	}
	c.mux = c.server.quota.Server(nc)
	c.session.Store(c.mux)
	if err := c.hello(); err != nil {
		return errors.Join(err, c.mux.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeted = true
	if c.server.isClosing() {
		return errors.Join(errShutdown, c.mux.Close())
	}
	return nil
}

// hello exchanges the first messages. The host's may come later than ours.
func (c *conn) hello() error {
	ctx, cancel := context.WithTimeout(context.Background(), greetTime)
	defer cancel()
	var err error
	if c.control, err = c.mux.Control(ctx); err != nil {
		return err
	}
	return wire.Write(c.control, &wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax,
		Version: c.server.Version,
		OS:      runtime.GOOS, Arch: runtime.GOARCH,
		BootID: guest.BootID(), Resumes: c.server.resumes.Load(), AgentID: *c.server.agentID.Load(),
		Features: c.server.features(),
	})
}

// features returns those of this agent: Windows' terminals have no modes, other systems have no
// command lines, and Linux alone gets a network.
func (s *Server) features() []string {
	missing := []string{wire.FeatureVerbatim}
	if runtime.GOOS == "windows" {
		missing[0] = wire.FeatureTTYModes
	}
	if runtime.GOOS != "linux" {
		missing = append(missing, wire.FeatureReseedNetwork)
	}
	if s.FilesWorker == nil {
		missing = append(missing, wire.FeatureFiles, wire.FeatureFilesOptions)
	}
	if s.Guard == nil {
		missing = append(missing, wire.FeatureQuiesce)
	}
	return slices.DeleteFunc(wire.Features(), func(f string) bool { return slices.Contains(missing, f) })
}

// Why a connection ends on this side.
var (
	errShutdown  = errors.New("the agent is shutting down")
	errNotRead   = errors.New("the host does not read the control stream")
	errProtocol  = errors.New("protocol violation")
	errNoVersion = errors.New("no protocol version in common")
)

// dispatch reads requests until the connection ends. It returns the reason: io.EOF if
// the host is done.
func (c *conn) dispatch() error {
	stop := make(chan struct{})
	defer close(stop)
	c.replying.Go(func() { c.replies.run(c.send, stop) }) // waited for by end: the host may not read

	in := bufio.NewReader(c.control)
	if err := c.readHello(in); err != nil {
		return err
	}
	c.server.advance(c, greeted)
	requests := wire.Reader{R: in, Max: c.server.quotas.Message, Hold: c.beginMessage}
	for {
		m, size, err := requests.Read()
		c.endMessage(size)
		if err == nil {
			err = c.handle(m, requestCost(size))
		} else {
			c.mux.Release(requestCost(size))
		}
		if err != nil {
			return c.cause(err)
		}
	}
}

// beginMessage makes room for a request whose length has come. One that needs memory
// must come within messageTime: until then nobody else has that memory.
func (c *conn) beginMessage(size int) error {
	cost := requestCost(size)
	if err := c.mux.Reserve(cost); err != nil {
		return err
	}
	if cost > 0 {
		c.control.SetReadDeadline(time.Now().Add(messageTime))
	}
	return nil
}

// endMessage is called when a message has been read, or has not been.
func (c *conn) endMessage(size int) {
	if requestCost(size) == 0 {
		return
	}
	c.control.SetReadDeadline(time.Time{})
	select {
	case <-c.idle: // finishShutdown may have set its deadline before that
		c.control.SetReadDeadline(time.Unix(1, 0))
	default:
	}
}

// readHello reads the host's first message.
func (c *conn) readHello(in *bufio.Reader) error {
	c.control.SetReadDeadline(time.Now().Add(greetTime))
	m, err := wire.Read(in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: no hello within %v", errProtocol, greetTime)
	}
	if err != nil {
		return c.cause(err)
	}
	c.control.SetReadDeadline(time.Time{})
	h, ok := m.(*wire.Hello)
	if !ok {
		return fmt.Errorf("%w: the first message is not hello", errProtocol)
	}
	if h.Max < wire.ProtocolMin || h.Min > wire.ProtocolMax {
		return fmt.Errorf("%w: the host speaks versions %d to %d, the agent %d to %d",
			errNoVersion, h.Min, h.Max, wire.ProtocolMin, wire.ProtocolMax)
	}
	return nil
}

// cause makes the error of the control stream the connection's: a lost connection is
// io.EOF if the host has closed it.
func (c *conn) cause(err error) error {
	select {
	case <-c.idle:
		return c.parting
	default:
	}
	if errors.Is(err, mux.ErrLost) && errors.Is(err, io.EOF) {
		return io.EOF
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: incomplete request after %v", errProtocol, messageTime)
	}
	return err
}

// send writes m to the host. It blocks while the host does not read. That it
// cannot be written means that the connection has ended, which dispatch learns.
func (c *conn) send(m wire.Message) {
	if late, ok := m.(*lateExecs); ok {
		late.Execs = c.server.listExecs(c.peer.Class)
		m = &late.Done
	}
	_ = wire.Write(c.control, m)
}

// sendSoon is send for what may wait, for 5 milliseconds at most, for what follows.
func (c *conn) sendSoon(m wire.Message) { _ = wire.Write(soon{c.control}, m) }

// A soon is a stream that is written to by WriteSoon.
type soon struct{ *mux.Stream }

func (s soon) Write(p []byte) (int, error) { return s.WriteSoon(p) }

// answer queues m for the host.
func (c *conn) answer(m wire.Message) error { return c.replies.put(m) }

// end alone takes a connection down. It ends its execs or leaves them alone by their
// rule, tells the host, stops the bytes in both directions, and waits for all that is
// the connection's. Nothing before the wait depends on the host.
func (c *conn) end(cause error) {
	for _, w := range c.drain() {
		w.disconnected()
	}
	c.bye(cause)
	_ = c.mux.Close()
	c.server.advance(c, departed)
	c.replying.Wait()
	c.running.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timeout != nil {
		c.timeout.Stop()
	}
}

// drain lets no more tasks begin, and returns those that there are.
func (c *conn) drain() []worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	return slices.Collect(maps.Values(c.tasks))
}

// bye tells the host the reason if the agent ends the connection. Then it lets the host
// close the connection: a VMM may drop what a guest sends just before it closes.
func (c *conn) bye(cause error) {
	kind := wire.BadRequest
	switch {
	case errors.Is(cause, mux.ErrLost), errors.Is(cause, io.EOF), errors.Is(cause, errNotRead):
		return
	case errors.Is(cause, errShutdown):
		kind = wire.ShuttingDown
	case errors.Is(cause, errNoVersion):
		kind = wire.Unsupported
	case kindOf(cause) == wire.Limit:
		kind = wire.Limit
	}
	timer := time.AfterFunc(lingerTime, c.cut)
	defer timer.Stop()
	c.replying.Wait()
	c.send(&wire.Error{Kind: kind, Message: cause.Error()})
	<-c.mux.Done()
}

// beginShutdown ends the executions. The connection follows when each has been
// reported, or when their time is up.
func (c *conn) beginShutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	grace := c.server.ShutdownGrace
	for _, w := range c.tasks {
		w.terminate(job.Shutdown, grace)
	}
	switch {
	case !c.greeted:
		c.cut()
	case !c.draining:
		c.draining = true
		c.timeout = time.AfterFunc(grace+reportTime, c.cut)
		go c.finishShutdown() // ends with the executions, which terminate sees to
	}
}

func (c *conn) finishShutdown() {
	c.running.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partLocked(errShutdown)
}

// partLocked has dispatch say goodbye. The first reason counts.
func (c *conn) partLocked(reason error) {
	if c.parting != nil {
		return
	}
	c.parting = reason
	close(c.idle)
	c.control.SetReadDeadline(time.Unix(1, 0))
}

// cut ends the connection under whatever is going on.
func (c *conn) cut() {
	_ = c.net.Close()
	if m := c.session.Load(); m != nil {
		m.Abort() // which may be waiting for memory, and not for the connection
	}
}

// turnAwayTime is how long turnAway may take. Nothing has been written before, so that the
// socket has room.
const turnAwayTime = time.Millisecond

// turnAway cuts a connection that has not been heard. Its host may have spoken, and this
// agent have had no time to listen: it is told that it may try again.
func (c *conn) turnAway(kind wire.ErrorKind, message string) {
	_ = c.net.SetWriteDeadline(time.Now().Add(turnAwayTime))
	_, _ = c.net.Write(wire.AppendRefusal(nil, kind, message))
	c.cut()
}
