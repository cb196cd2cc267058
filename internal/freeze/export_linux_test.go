package freeze

// PID returns the guard's.
func (g *Guard) PID() int { return g.cmd.Process.Pid }
