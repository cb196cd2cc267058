package transport

// socketPath returns the path that a target means: /C:/run/agent.sock is
// C:/run/agent.sock, as in a file: URL.
func socketPath(path string) string {
	if len(path) >= 3 && path[0] == '/' && isLetter(path[1]) && path[2] == ':' {
		return path[1:]
	}
	return path
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
