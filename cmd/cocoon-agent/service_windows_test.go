package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc/mgr"
)

// TestMain is also the agent, which the service manager starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 2 && os.Args[1] == "crash" {
		if err := keepCrashes(os.Args[2]); err == nil {
			panic("as a test wants it")
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// skipUnlessWine: a test would take this machine's own service away.
func skipUnlessWine(t *testing.T) {
	t.Helper()
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil {
		t.Skip("this is no Wine: the test would replace the service of this machine")
	}
	ran("service", "uninstall") // that of a test which has failed
	t.Cleanup(func() { ran("service", "uninstall") })
}

// wantService runs "service" with args.
func wantService(t *testing.T, status int, says string, args ...string) {
	t.Helper()
	got, out, errs := ran(append([]string{"service"}, args...)...)
	if got != status || !strings.Contains(out+errs, says) {
		t.Fatalf("service %q: status %d, stdout %q, stderr %q; want %d and %q", args, got, out, errs, status, says)
	}
}

func TestServiceLivesAndEnds(t *testing.T) {
	skipUnlessWine(t)
	log := filepath.Join(t.TempDir(), "logs", "agent.log")
	wantService(t, statusNotInstalled, "not installed", "status")
	wantService(t, statusFailure, serviceName, "start")
	wantService(t, statusUsage, "--port", "install", "--", "--port", "many")
	wantService(t, statusUsage, "--user", "install", "--", "--user", "somebody")
	wantService(t, statusUsage, "unknown flag --port", "install", "--port", "1025")
	wantService(t, 0, "", "install", "--", "--port", "1025", "--log-file", log)
	defer wantService(t, statusNotInstalled, "", "status")
	defer wantService(t, 0, "", "uninstall")
	wantService(t, statusStopped, "--port 1025", "status")
	for range 2 { // it starts again
		wantService(t, 0, "", "start")
		wantService(t, 0, "running", "status")
		wantService(t, 0, "", "start")
		wantLog(t, log, "waiting for the vsock device")
		wantService(t, 0, "", "stop")
		wantService(t, statusStopped, "stopped", "status")
		wantService(t, 0, "", "stop")
		if err := os.Remove(log); err != nil {
			t.Error(err) // the agent has it open yet
		}
	}
	wantService(t, 0, "", "start") // and is stopped and taken away
}

func TestServiceOfThatNameIsTakenOver(t *testing.T) {
	skipUnlessWine(t)
	m, err := mgr.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Disconnect() }()
	s, err := m.CreateService(serviceName, `C:\Program Files\Cocoon\cocoon-agent.exe`, mgr.Config{StartType: mgr.StartManual}, "-port", "1024")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantService(t, 0, "", "install", "--", "--port", "1024", "--deny", "reseed")
	defer wantService(t, 0, "", "uninstall")
	line, err := commandOfService(s)
	self, _ := os.Executable()
	if err != nil || !strings.Contains(line, self) || !strings.HasSuffix(line, "serve --service --port 1024 --deny reseed") {
		t.Errorf("commandOfService = %q, %v, want %s and its options", line, err, self)
	}
}

func wantLog(t *testing.T, path, text string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		log, _ := os.ReadFile(path)
		if strings.Contains(string(log), text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in the log: %q", text, log)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestLogFileMakesRoomForItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "log")
	r, err := openRotating(path)
	if err != nil {
		t.Fatal(err)
	}
	r.max, r.limit = 10, 10
	for _, line := range []string{"one\n", "two\n", "three\n", "a line that is longer than all\n", "four\n", "five\n", "six\n", "seven\n", "eight\n"} {
		if n, err := r.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("Write(%q) = %d, %v, want %d", line, n, err, len(line))
		}
	}
	r.close()
	for name, want := range map[string]string{
		"": "eight\n", ".1": "six\nseven\n", ".2": "four\nfive\n", ".3": "a line that is longer than all\n", ".4": "three\n",
	} {
		got, err := os.ReadFile(path + name)
		if string(got) != want || err != nil {
			t.Errorf("log%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(path + ".5"); err == nil {
		t.Error("there is a fifth")
	}
}

func TestLogFileThatIsHeldGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r, err := openRotating(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	r.max, r.limit = 10, 10
	name := windows.StringToUTF16Ptr(path)
	held, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".1", []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := r.Write([]byte("a line\n")); err != nil {
			t.Error(err)
		}
	}
	_ = windows.CloseHandle(held)
	if got, err := os.ReadFile(path); string(got) != "a line\na line\na line\n" || err != nil {
		t.Errorf("the log has %q, %v, want three lines", got, err)
	}
	if got, err := os.ReadFile(path + ".1"); string(got) != "older" || err != nil {
		t.Errorf("log.1: %q, %v", got, err)
	}
}

func TestServiceWithAWrongOptionSaysWhyAtOnce(t *testing.T) {
	skipUnlessWine(t)
	m, err := mgr.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Disconnect() }()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"--denyy", "--user=somebody"} {
		s, err := m.CreateService(serviceName, self, mgr.Config{StartType: mgr.StartManual}, "serve", "--service", option)
		if err != nil {
			t.Fatal(err)
		}
		wantService(t, statusFailure, "exit code 1", "start")
		_ = s.Close()
		wantService(t, 0, "", "uninstall")
	}
}

func TestServiceKnowsWhatRunsBelowIt(t *testing.T) {
	parents, err := parentsOfAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := parents[windows.GetCurrentProcessId()]; int(got) != os.Getppid() {
		t.Errorf("parent %d, want %d", got, os.Getppid())
	}
}

func TestCrashLeavesATrace(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), crashLog)
	for i := range 2 {
		if err := exec.CommandContext(t.Context(), self, "crash", path).Run(); err == nil {
			t.Fatal("it did not crash")
		}
		got, err := os.ReadFile(path)
		if err != nil || strings.Count(string(got), "panic: as a test wants it") != i+1 {
			t.Errorf("after crash %d the file has %q, %v, want as many panics", i+1, got, err)
		}
	}
	if err := os.WriteFile(path, make([]byte, maxCrashLog+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = exec.CommandContext(t.Context(), self, "crash", path).Run()
	if got, err := os.ReadFile(path); err != nil || !strings.Contains(string(got[:min(len(got), 100)]), "panic: ") {
		t.Errorf("a long file was not put aside: %d bytes, %v", len(got), err)
	}
}

func TestChangeableByFindsOtherAccounts(t *testing.T) {
	for access, want := range map[string]bool{
		"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)(A;OICI;0x1200a9;;;BU)": false,
		"D:P(A;OICI;FA;;;SY)(A;OICIIO;FA;;;WD)":                                     false, // of what is made in it
		"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;WD)":                                       true,
		"D:P(A;OICI;FA;;;BA)(A;OICI;0x4;;;BU)":                                      true, // may make directories
		"D:P(A;OICI;FA;;;BA)(A;OICI;0x40;;;AU)":                                     true, // may remove files
	} {
		d, err := windows.SecurityDescriptorFromString("O:BA" + access)
		if err != nil {
			t.Fatal(err)
		}
		who, err := changeableIn(d)
		if err != nil || (who != "") != want {
			t.Errorf("%s: %q, %v; want somebody: %v", access, who, err, want)
		}
	}
	d, err := windows.SecurityDescriptorFromString("O:BUD:P(A;OICI;FA;;;BA)")
	if err != nil {
		t.Fatal(err)
	}
	if who, err := changeableIn(d); who == "" || err != nil {
		t.Errorf("owned by users: %q, %v", who, err)
	}
	if _, err := changeableBy(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}
