package proc

// EndAbandoned kills those of the processes that an agent, which was killed, had started
// and that have not become their commands: a start that hung would run the command once
// whatever holds it lets go. The caller knows that the processes are in cgroups that no
// living agent has.
func EndAbandoned(pids []int) { endAbandoned(pids) }
