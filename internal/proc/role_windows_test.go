package proc_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/windows"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// roleWord is the first argument of the test program when it is a command.
const roleWord = "-role"

// as is the command that plays a role.
func as(role string, args ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{self, roleWord, role}, args...)
}

// play is what the test program does as a command. It returns the exit status.
func play(role string, args []string) int {
	switch role {
	case "exit":
		code, err := strconv.ParseUint(args[0], 0, 32)
		must(err)
		windows.ExitProcess(uint32(code))
	case "args":
		must(json.NewEncoder(os.Stdout).Encode(args))
	case "environment":
		must(json.NewEncoder(os.Stdout).Encode(os.Environ()))
	case "directory":
		dir, err := os.Getwd()
		must(err)
		fmt.Fprint(os.Stdout, dir)
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		must(err)
	case "both":
		fmt.Fprint(os.Stdout, "to stdout")
		fmt.Fprint(os.Stderr, "to stderr")
	case "sleep":
		<-time.After(time.Hour)
	case "tree": // so many more below this one
		depth, err := strconv.Atoi(args[0])
		must(err)
		fmt.Fprintln(os.Stdout, os.Getpid())
		if depth > 0 {
			c := exec.Command(os.Args[0], roleWord, "tree", strconv.Itoa(depth-1))
			c.Stdout = os.Stdout
			must(c.Start())
		}
		<-time.After(time.Hour)
	case "holder": // leaves a process that has its stdout
		c := exec.Command(os.Args[0], roleWord, "sleep")
		c.Stdout = os.Stdout
		must(c.Start())
		fmt.Fprintln(os.Stdout, c.Process.Pid)
	case "interrupted":
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		fmt.Fprintln(os.Stdout, "ready")
		<-c
		fmt.Fprintln(os.Stdout, "interrupted")
		return 5
	case "agent": // has a process
		s, err := proc.NewSpawner()
		must(err)
		p, err := s.Start(proc.Spec{Argv: as("sleep")})
		must(err)
		fmt.Fprintln(os.Stdout, p.PID())
		_ = p.Wait()
	case "runs": // succeeds if a process does
		pid, err := strconv.Atoi(args[0])
		must(err)
		if !runs(pid) {
			return 1
		}
	case "end":
		pid, err := strconv.Atoi(args[0])
		must(err)
		p, err := os.FindProcess(pid)
		must(err)
		must(p.Kill())
	case "console":
		return console()
	default:
		panic("no role " + role)
	}
	return 0
}

// console is a program in a terminal: it says the terminal's size and what is typed. It opens the
// terminal by name, as Wine gives a program in a pseudo-console other standard handles.
func console() int {
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	must(err)
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	must(err)
	var info windows.ConsoleScreenBufferInfo
	must(windows.GetConsoleScreenBufferInfo(windows.Handle(out.Fd()), &info))
	fmt.Fprintf(out, "size %d %d\r\n", info.Window.Bottom-info.Window.Top+1, info.Window.Right-info.Window.Left+1)
	line, err := bufio.NewReader(in).ReadString('\n')
	must(err)
	fmt.Fprintf(out, "line %q\r\n", strings.TrimSpace(line))
	return 3
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
