package main

import "github.com/cocoonstack/cocoon-agent/client"

// limitFlags bound what a command may use. A limit of 0 is an error: to the agent it
// means no limit.
type limitFlags struct {
	Memory size  `placeholder:"SIZE" help:"Memory limit, such as 256M or 1.5G. The kernel kills the command if it exceeds the limit."`
	PIDs   count `name:"pids" placeholder:"N" help:"Maximum number of processes and threads of the command."`
	CPU    cpus  `name:"cpu" placeholder:"N" help:"Maximum number of CPUs, such as 0.5."`
}

func (f *limitFlags) limits() client.Limits {
	return client.Limits{Memory: uint64(f.Memory), PIDs: uint64(f.PIDs), CPU: float64(f.CPU)}
}
