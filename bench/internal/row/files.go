//go:build linux

package row

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/plain"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
	"github.com/cocoonstack/cocoon-agent/client"
)

// The contenders of the row files, each with a file and with a tree.
const (
	push      = "push"
	pull      = "pull"
	plainFile = "plain copy by two processes"
	tarExec   = "tar through exec"
	scp       = "scp -r"

	ofTree = ", tree"
)

// fileSize is the size of one file ÷ Size.Bytes: 1 GiB in a full run.
const fileSize = 2

// A copier copies a file and a tree in a directory of its own.
type copier struct {
	b      *Bench
	dir    string // on tmpfs, if there is one
	agent  *lab.Server
	client *client.Client
	peer   *lab.Server
	copies int
}

// files measures copies of one large file and of a tree of small ones, against copies without a protocol, tar and scp.
func (b *Bench) files(ctx context.Context) (_ *report.Row, err error) {
	c := &copier{b: b}
	if c.dir, err = os.MkdirTemp(memoryDirectory(b.Lab.Dir), "bench-files-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(c.dir)
	if err := c.make(); err != nil {
		return nil, err
	}
	if c.agent, err = b.Lab.StartAgent(ctx); err != nil {
		return nil, err
	}
	defer c.agent.Stop()
	if c.client, err = client.Dial(ctx, c.agent.Target); err != nil {
		return nil, err
	}
	defer c.client.Close()
	if c.peer, err = b.Lab.StartPeer(ctx, "put"); err != nil {
		return nil, err
	}
	defer c.peer.Stop()
	s, err := measure.Alternate(ctx, b.Size.Throughput, append(c.ofFile(), c.ofTree()...))
	if err != nil {
		return nil, err
	}
	return c.row(s), nil
}

// memoryDirectory is a directory in memory: a disk would hide what copying costs.
func memoryDirectory(otherwise string) string {
	const shm = "/dev/shm"
	if i, err := os.Stat(shm); err == nil && i.IsDir() {
		return shm
	}
	return otherwise
}

// make makes what is copied: the file "file", and the directory "tree".
func (c *copier) make() error {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*i>>8 + i)
	}
	f, err := os.Create(c.path("file"))
	if err != nil {
		return err
	}
	defer f.Close()
	for range fileSize * c.b.Size.Bytes / int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	for i := range c.b.Size.Tree {
		path := c.path("tree", fmt.Sprintf("d%d", i/100), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, block[:1<<10], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) path(names ...string) string {
	return filepath.Join(append([]string{c.dir}, names...)...)
}

func (c *copier) ofFile() []measure.Contender {
	from := c.path("file")
	all := []measure.Contender{
		c.contender(push, from, c.push), c.contender(pull, from, c.pull), c.contender(plainFile, from, c.plain),
	}
	if c.b.SSH != nil {
		all = append(all, c.contender(scp, from, c.scp))
	}
	return all
}

func (c *copier) ofTree() []measure.Contender {
	from := c.path("tree")
	if c.b.Size.Tree == 0 {
		return nil
	}
	all := []measure.Contender{
		c.contender(push+ofTree, from, c.push), c.contender(pull+ofTree, from, c.pull), c.contender(tarExec+ofTree, from, c.tar),
	}
	if c.b.SSH != nil {
		all = append(all, c.contender(scp+ofTree, from, c.scp))
	}
	return all
}

// contender copies to a new name each time, and returns how many ms that took.
func (c *copier) contender(name, from string, run func(ctx context.Context, from, to string) error) measure.Contender {
	return measure.Contender{Name: name, Sample: func(ctx context.Context) (float64, error) {
		c.copies++
		to := c.path(fmt.Sprintf("copy%d", c.copies))
		begun := time.Now()
		err := run(ctx, from, to)
		took := time.Since(begun)
		if err == nil {
			_, err = os.Stat(to)
		}
		_ = os.RemoveAll(to)
		return float64(took) / float64(time.Millisecond), err
	}}
}

func (c *copier) push(ctx context.Context, from, to string) error {
	_, err := c.client.FS("").Push(ctx, from, to, nil)
	return err
}

func (c *copier) pull(ctx context.Context, from, to string) error {
	_, err := c.client.FS("").Pull(ctx, from, to, nil)
	return err
}

// plain sends the content to a process that writes it to a file.
func (c *copier) plain(ctx context.Context, from, to string) error {
	nc, err := c.peer.Dial(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return plain.SendFile(nc, f, to)
}

// tar has a tar of the host write to one of the guest.
func (c *copier) tar(ctx context.Context, from, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	pack := exec.CommandContext(ctx, "tar", "-C", filepath.Dir(from), "-c", filepath.Base(from))
	stream, err := pack.StdoutPipe()
	if err != nil {
		return err
	}
	if err := pack.Start(); err != nil {
		return err
	}
	unpack := c.client.CommandContext(ctx, "tar", "-C", to, "-x")
	unpack.Stdin = stream
	err = unpack.Run()
	if e := pack.Wait(); err == nil {
		err = e
	}
	return err
}

func (c *copier) scp(ctx context.Context, from, to string) error { return c.b.SSH.Copy(ctx, from, to) }

func (c *copier) row(s measure.Samples) *report.Row {
	row := &report.Row{Name: "files", Title: fmt.Sprintf(
		"copy of a file of %d MiB, and of %d files of 1 KiB", fileSize*c.b.Size.Bytes>>20, c.b.Size.Tree)}
	for _, of := range []string{"", ofTree} {
		for _, name := range []string{push, pull, plainFile, tarExec, scp} {
			if all := s.All(name + of); len(all) > 0 {
				row.Figures = append(row.Figures, report.Figure{Contender: name + of, Unit: "ms", Samples: len(all), Median: measure.Median(all)})
			}
		}
	}
	for _, g := range []struct {
		way, other string
		limit      float64
	}{
		{push, plainFile, 0.8},
		{pull, plainFile, 0.8},
		{push, scp, 3},
		{pull, scp, 3},
		{push + ofTree, tarExec + ofTree, 1},
		{pull + ofTree, tarExec + ofTree, 1},
		{push + ofTree, scp + ofTree, 15},
		{pull + ofTree, scp + ofTree, 15},
	} {
		if len(s.All(g.way)) > 0 && len(s.All(g.other)) > 0 {
			row.Goals = append(row.Goals, report.Goal{
				What: "time of " + g.other + " ÷ " + strings.TrimSuffix(g.way, ofTree), Unit: "×", Limit: g.limit, AtLeast: true,
				Got: measure.SpreadOf(s.Ratio(g.other, g.way, measure.Median)),
			})
		}
	}
	return row
}
