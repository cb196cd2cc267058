package main

import "os"

// canReadStdin says whether standard input is open.
func canReadStdin() bool {
	_, err := os.Stdin.Stat()
	return err == nil
}
