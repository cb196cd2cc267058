#!/usr/bin/env bash
# Guess:  when the kernel clears the word of CLONE_CHILD_CLEARTID in an execve, the child has memory of
#         its own: what the parent writes to its /proc/PID/oom_score_adj from then on is the child's.
# Seen:   the word is cleared a moment before the child takes the new memory. A score that is written in
#         between is set for all processes that share the old memory, the parent too: in 3 of 4,472 starts
#         here. A parent that is protected from the OOM killer, and takes that back from its children, must
#         look at its own score after it has written.
# With:   Linux 6.18 with two CPUs, gcc 12.
# Needs:  gcc, two CPUs.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.c" <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int word;
static char stack[1 << 16] __attribute__((aligned(16)));

static int child(void *path)
{
	execl(path, path, (char *)0);
	_exit(127);
}

static void set(const char *path, const char *score)
{
	int fd = open(path, O_WRONLY);
	if (fd >= 0) {
		if (write(fd, score, 3) < 0) perror(path);
		close(fd);
	}
}

static int score(void)
{
	int n = -1;
	FILE *f = fopen("/proc/self/oom_score_adj", "r");
	if (!f || fscanf(f, "%d", &n) != 1) exit(1);
	fclose(f);
	return n;
}

int main(void)
{
	int hits = 0, starts = 0;
	for (; starts < 20000 && hits < 3; starts++) {
		char path[64];
		set("/proc/self/oom_score_adj", "100");
		word = 1;
		/* The kernel clears the word at the end of the old memory. */
		int pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, "/bin/true", 0, 0, (int *)&word);
		if (pid < 0) { perror("clone"); return 1; }
		snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
		while (word) ;
		set(path, "500");
		if (score() == 500) hits++;
		waitpid(pid, 0, 0);
	}
	fprintf(stderr, "%d starts\n", starts);
	puts(hits ? "the parent got its child's score" : "never");
	return 0;
}
C
gcc -O1 -o "$dir/main" "$dir/main.c"
"$dir/main" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
the parent got its child's score
SEEN
