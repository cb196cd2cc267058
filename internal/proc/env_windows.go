package proc

import (
	"os"
	"strings"
)

// defaultPath is the PATH where the agent has none.
func defaultPath() string {
	root := os.Getenv("SystemRoot")
	return root + `\system32;` + root
}

// envKey is equal for two keys that are the same variable.
func envKey(key string) string { return strings.ToUpper(key) }

// userEnv is what a user's processes have in their environment: all is in the agent's own.
func userEnv(account) []string { return nil }

// indispensable is what a process gets of base though its environment is to be empty. Most
// programs do not start without SystemRoot.
func indispensable(base []string) []string {
	if root, ok := lookupEnv(base, "SystemRoot"); ok {
		return []string{"SystemRoot=" + root}
	}
	return nil
}
