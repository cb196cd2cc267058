package proc

// Protect keeps the OOM killer from this program, if the program has the privilege. Its
// processes get the oom_score_adj that the program was started with, or 0 if that is
// less. An error says that nothing has changed. Protect must be called before the first
// [Spawner.Start].
func Protect() error { return protect() }
