package cgroup

// Stale returns the pids of the processes in cgroups that programs have left which were
// killed. There may be none.
func Stale() []int { return stale() }
