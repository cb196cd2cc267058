package proc

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

func (s *Spawner) start(ctx context.Context, spec Spec, l launch) (*Process, error) {
	if err := s.mayStart(); err != nil {
		return nil, err
	}
	line, err := commandLine(l.paths[0], spec)
	if err != nil {
		return nil, err
	}
	streams, err := s.openStreams(spec)
	if err != nil {
		return nil, startError(err)
	}
	job, err := openJob(spec.Limits)
	if err != nil {
		streams.close()
		return nil, err
	}
	c := creation{path: l.paths[0], line: line, env: l.env, dir: spec.Dir, job: job, streams: streams}
	made, err := s.create(ctx, &c)
	if err != nil {
		return nil, err
	}
	streams.closeChild()
	p := &Process{
		pid: int(made.ProcessId), stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr, terminal: streams.terminal,
		process: process{handle: made.Process, job: job, gaveUp: make(chan struct{}), ended: make(chan struct{})},
	}
	p.watch()
	_, err = windows.ResumeThread(made.Thread)
	_ = windows.CloseHandle(made.Thread)
	if err != nil { // nothing has run
		p.terminate(0)
		_ = p.wait()
		_, _ = p.reap()
		return nil, os.NewSyscallError("ResumeThread", err)
	}
	return p, nil
}

// A creation is what CreateProcess gets.
type creation struct {
	path, line string
	env        []string
	dir        string
	job        jobObject
	streams    *pipes
}

// create creates the process, which does not run yet. CreateProcess may hang, in a file system
// whose server does not answer. If ctx ends then what it makes yet is ended before it runs. With
// an error c is freed.
func (s *Spawner) create(ctx context.Context, c *creation) (*windows.ProcessInformation, error) {
	type result struct {
		made *windows.ProcessInformation
		err  error
	}
	got := make(chan result, 1)
	go func() { // ends when CreateProcess does
		made, err := c.create()
		got <- result{made, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			c.free()
			return nil, createError(c, r.err)
		}
		return r.made, nil
	case <-ctx.Done():
	}
	s.hanging.Add(1)
	go func() { // ends when CreateProcess does
		if r := <-got; r.err == nil {
			_ = windows.TerminateProcess(r.made.Process, codeKilled)
			_ = windows.CloseHandle(r.made.Thread)
			_ = windows.CloseHandle(r.made.Process)
		}
		c.free()
		s.hanging.Add(-1)
	}()
	return nil, &HungError{step: errors.New("CreateProcess hangs: " + clipPath(c.path))}
}

func (c *creation) free() {
	c.streams.close()
	c.job.close()
}

// create calls CreateProcess. The process is in its job from its first instruction, and inherits
// its standard handles only.
func (c *creation) create() (*windows.ProcessInformation, error) {
	path, err := windows.UTF16PtrFromString(c.path)
	if err != nil {
		return nil, err
	}
	line, err := windows.UTF16PtrFromString(c.line)
	if err != nil {
		return nil, err
	}
	dir, err := windows.UTF16PtrFromString(c.dir)
	if err != nil {
		return nil, err
	}
	attributes, err := windows.NewProcThreadAttributeList(2)
	if err != nil {
		return nil, os.NewSyscallError("InitializeProcThreadAttributeList", err)
	}
	defer attributes.Delete()
	info := windows.StartupInfoEx{ProcThreadAttributeList: attributes.List()}
	info.Cb = uint32(unsafe.Sizeof(info))
	info.Flags = windows.STARTF_USESTDHANDLES
	flags := uint32(windows.EXTENDED_STARTUPINFO_PRESENT | windows.CREATE_UNICODE_ENVIRONMENT | windows.CREATE_SUSPENDED)
	jobs := []windows.Handle{c.job.handle}
	err = attributes.Update(attributeJobList, unsafe.Pointer(&jobs[0]), unsafe.Sizeof(jobs[0]))
	handles := c.streams.handles()
	if t := c.streams.terminal; t != nil {
		err = errors.Join(err, attributes.Update(windows.PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, *(*unsafe.Pointer)(unsafe.Pointer(&t.console)), unsafe.Sizeof(t.console)))
	} else {
		// A hidden console of its own: Ctrl-C reaches nobody else.
		flags |= windows.CREATE_NO_WINDOW
		info.StdInput, info.StdOutput, info.StdErr = c.streams.child[0], c.streams.child[1], c.streams.child[2]
		err = errors.Join(err, attributes.Update(windows.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&handles[0]), uintptr(len(handles))*unsafe.Sizeof(handles[0])))
	}
	if err != nil {
		return nil, os.NewSyscallError("UpdateProcThreadAttribute", err)
	}
	made := &windows.ProcessInformation{}
	err = createProcess(path, line, nil, nil, len(handles) > 0, flags, environmentBlock(c.env), dir, &info.StartupInfo, made)
	if err != nil {
		return nil, err
	}
	return made, nil
}

// createProcess is a variable for tests.
var createProcess = windows.CreateProcess

// attributeJobList is PROC_THREAD_ATTRIBUTE_JOB_LIST.
const attributeJobList = 0x0002000D

// environmentBlock is env as CreateProcess takes it: sorted, each entry with a NUL, and one more.
func environmentBlock(env []string) *uint16 {
	sorted := slices.SortedFunc(slices.Values(env), func(a, b string) int {
		keyA, _, _ := strings.Cut(a, "=")
		keyB, _, _ := strings.Cut(b, "=")
		return strings.Compare(envKey(keyA), envKey(keyB))
	})
	var block []uint16
	for _, entry := range sorted {
		wide, _ := windows.UTF16FromString(entry) // no NUL: checkStrings
		block = append(block, wide...)
	}
	if len(block) == 0 {
		block = append(block, 0)
	}
	block = append(block, 0)
	return &block[0]
}
