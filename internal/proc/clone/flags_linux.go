package clone

import (
	"bytes"
	"os"
	"strconv"
)

// Flags of a process, PF_* of include/linux/sched.h, as proc_pid_stat(5) has them.
const (
	flagExiting     = 0x4
	flagNotExecuted = 0x40 // since it was forked

	flagsField = 6 // behind the name
)

// flagsOf returns the flags of a process, or false if there is no such process or no
// /proc.
func flagsOf(pid int) (flags uint64, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= flagsField {
		return 0, false
	}
	flags, err = strconv.ParseUint(string(fields[flagsField]), 10, 64)
	return flags, err == nil
}

// neverExecuted says whether a child that has given its memory up was killed before it
// had executed a program. Without /proc the exit status says it.
func neverExecuted(pid int) bool {
	flags, ok := flagsOf(pid)
	return ok && flags&flagExiting != 0 && flags&flagNotExecuted != 0
}
