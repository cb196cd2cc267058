module github.com/cocoonstack/cocoon-agent/e2e/instruments

go 1.26.0

require golang.org/x/sys v0.49.0
