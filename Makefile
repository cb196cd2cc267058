# cocoon-agent. `make help` lists the targets.

GO       ?= go
# Executions, not a time: at the end of a time Go 1.26 may report "context deadline exceeded" (go.dev/issue/75804).
FUZZTIME ?= 100000x
DURATION ?= 10m
TIMEOUT  ?= 20m
# The earliest commit whose client and agent must work with this tree's.
BASE     ?= 245f844

# Printed by "cocoon-agent version". Distribution packages set both: they build without git.
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)

# The path of golangci-lint, in the version that tools/go.mod pins. It is built for
# this system, even if it lints for another one.
LINT := lint=$$(GOOS= GOARCH= $(GO) tool -modfile=$(CURDIR)/tools/go.mod -n golangci-lint)
# LOG_LEVEL: on each system some exclusions of .golangci.yml are unused.
LINT_RUN := LOG_LEVEL=error "$$lint" run

# Each os/arch for go vet, and each os for golangci-lint.
VET_FOR  := linux/amd64 linux/arm64 linux/riscv64 darwin/arm64 windows/amd64 windows/arm64
LINT_FOR := linux darwin windows
# Other modules than that of agent and client. They are linted for Linux only.
LINUX_MODULES := bench kubelet e2e/instruments examples client/poolmetrics
MODULES       := . $(LINUX_MODULES)
SHELL_SCRIPTS := .ci/run e2e/vmm/run .ci/nightly .ci/steps.bash demo/demo.sh bench/openssh.sh e2e/run.sh e2e/compat/run.sh e2e/debian/image.sh e2e/debian/run.sh e2e/debian/packages.sh e2e/inits/image.sh e2e/inits/run.sh e2e/inits/mounts e2e/inits/openrc e2e/inits/runit e2e/inits/s6 e2e/wine/exec e2e/wine/root.sh e2e/wine/run.sh e2e/wine/msi.sh packaging/windows/build.sh packaging/packages.sh packaging/release.sh packaging/test.sh packaging/vuln.sh packaging/install.sh packaging/install_test.sh packaging/completions_test.sh packaging/completions/cocoon-agent.bash packaging/supervise/runit-run packaging/supervise/s6-run packaging/scripts/postinstall.sh packaging/scripts/preremove.sh packaging/scripts/postremove.sh packaging/scripts/postinstall-apk.sh packaging/scripts/preremove-apk.sh e2e/qemu/bench.sh e2e/qemu/exec.sh e2e/qemu/image.sh e2e/qemu/start.sh e2e/qemu/test.sh packaging/verify.sh packaging/modules.sh \
                 $(wildcard findings/*.sh)

# The race detector needs cgo, and so a C compiler. Released programs are built
# without cgo.
HAVE_CC := $(shell command -v $${CC:-cc} 2>/dev/null)

export CGO_ENABLED = 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## Build bin/cocoon-agent, statically linked; set GOOS and GOARCH to cross-compile
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/cocoon-agent

.PHONY: packages
packages: ## Make deb, rpm, apk and archives in bin/release: VERSION=x.y.z (needs zip)
	@GO='$(GO)' packaging/packages.sh '$(VERSION)' bin/release

.PHONY: release
release: ## Make all files of a release in bin/release: VERSION=x.y.z, the newest of CHANGELOG.md (needs zip, jq, wixl and msitools)
	@GO='$(GO)' packaging/release.sh '$(VERSION)' bin/release

.PHONY: msi
msi: ## Make the MSI and the zips for Windows guests, in bin/windows: VERSION=x.y.z (needs wixl and zip)
	@GO='$(GO)' packaging/windows/build.sh '$(VERSION)' bin/windows

.PHONY: all
all: tidy-check fmt-check lint test test-kubelet test-poolmetrics test-modules test-instruments build ## Check, test and build everything except e2e

.PHONY: demo
demo: ## Start an agent on a Unix socket and run commands through it
	@GO='$(GO)' demo/demo.sh

# The tests that internal/loadtest marks: files, and a pattern of names.
LOAD_FILES = $(shell grep -rl --include='*_test.go' '^	loadtest\.' .)
LOAD_TESTS = $(shell awk '/^func Test/ { name = $$2; sub(/[^A-Za-z0-9_].*/, "", name) } \
	/^\tloadtest\./ { printf "%s%s", separator, name; separator = "|" }' $(LOAD_FILES))

# The two halves at once: many tests wait.
.PHONY: test
test: ## Run all tests, most of them with the race detector (needs a C compiler)
	@$(MAKE) --no-print-directory -j2 test-race test-plain

# The program is also tested with the race detector by make race, nightly.
.PHONY: test-race
test-race: ## The half of make test with the race detector: all packages but the program's
ifneq ($(HAVE_CC),)
	CGO_ENABLED=1 $(GO) test -race -cover -timeout $(TIMEOUT) $$($(GO) list ./... | grep -v '/cmd/cocoon-agent$$')
else
	@test -z "$$CI" || { echo 'make test: the race detector needs a C compiler: apt-get install gcc libc6-dev' >&2; exit 1; }
	@echo 'make test: RACE DETECTOR OFF, no C compiler found: apt-get install gcc libc6-dev' >&2
	$(GO) test -cover -timeout $(TIMEOUT) $$($(GO) list ./... | grep -v '/cmd/cocoon-agent$$')
endif

.PHONY: test-plain
test-plain: ## The half of make test without: the program's tests, those that internal/loadtest marks, and the examples
	$(GO) test -cover -timeout $(TIMEOUT) ./cmd/cocoon-agent
	$(GO) test -timeout $(TIMEOUT) -run '^($(LOAD_TESTS))$$' $(sort $(dir $(LOAD_FILES)))
	cd examples && $(GO) test -timeout $(TIMEOUT) ./...

# kubelet is a module of its own: the agent and client do not depend on Kubernetes.
.PHONY: test-kubelet
test-kubelet: ## Run the tests of kubelet, against Kubernetes client and server code
ifneq ($(HAVE_CC),)
	cd kubelet && CGO_ENABLED=1 $(GO) test -race -timeout $(TIMEOUT) ./...
else
	cd kubelet && $(GO) test -timeout $(TIMEOUT) ./...
endif

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what each module calls
	packaging/vuln.sh

.PHONY: test-poolmetrics
test-poolmetrics: ## Run the tests of client/poolmetrics, the collector for Prometheus
	cd client/poolmetrics && $(GO) test -timeout $(TIMEOUT) ./...

# Programs of a cluster read a node's metrics. The test depends on much, and so is not in
# MODULES: it is checked and tested here alone, nightly.
.PHONY: test-metrics
test-metrics: ## Run the tests against metrics-server and Prometheus' engine, nightly
	@$(LINT); cd e2e/metrics && $(GO) mod tidy -diff && "$$lint" fmt --diff ./... && $(LINT_RUN) ./...
	cd e2e/metrics && $(GO) test -timeout $(TIMEOUT) ./...

.PHONY: test-modules
test-modules: ## Build a program outside the tree that depends on all modules, as after a release
	@packaging/modules.sh --test

.PHONY: race
race: ## Run all tests with the race detector, the program's and those of much work too, nightly
	LOAD_TESTS=race CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 30m ./...

.PHONY: e2e
e2e: ## Run the tests over vsock, in User-Mode Linux and QEMU guests
	@GO='$(GO)' e2e/run.sh

.PHONY: compat
compat: ## Test client and agent of an earlier commit (BASE) against those of this tree
	@GO='$(GO)' BASE='$(BASE)' e2e/compat/run.sh

.PHONY: test-arm64
test-arm64: ## Run the short tests of PACKAGES on arm64, emulated by QEMU
	@GO='$(GO)' e2e/qemu/test.sh $(PACKAGES)

.PHONY: soak
soak: build ## Run one agent under mixed load for DURATION (10m)
	$(GO) run ./e2e/soak -agent bin/cocoon-agent -duration $(DURATION)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME executions (100000x)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
		done; \
	done

# The instruments are a module of their own: the agent does not depend on them.
.PHONY: test-instruments
test-instruments: ## Run the tests of e2e/instruments; they need no guest
ifneq ($(HAVE_CC),)
	cd e2e/instruments && CGO_ENABLED=1 $(GO) test -race -timeout $(TIMEOUT) ./...
else
	cd e2e/instruments && $(GO) test -timeout $(TIMEOUT) ./...
endif

# bench is a module of its own: the agent does not depend on chart libraries.
.PHONY: bench-build
bench-build: build ## Build bin/bench and the programs that it runs
	cd bench && $(GO) build -trimpath -ldflags '-s -w' -o ../bin/bench .
	cd bench && $(GO) build -trimpath -ldflags '-s -w' -o ../bin/bench-peer ./peer
	cd bench && $(GO) build -trimpath -ldflags '-s -w' -o ../bin/bench-host ./host

.PHONY: bench
bench: bench-build ## Compare the agent with os/exec, OpenSSH and others, or with the checkout in AGAINST; BENCH_FLAGS=-quick is shorter, -h lists flags
	bin/bench -out bin/results $(if $(AGAINST),-against '$(AGAINST)') $(BENCH_FLAGS)

.PHONY: bench-doc
bench-doc: bench-build ## Run bench, with OpenSSH, and write the results into docs/performance.md
	bench/openssh.sh bin/openssh
	bin/bench -openssh bin/openssh -out bin/results -doc docs/performance.md $(BENCH_FLAGS)

.PHONY: bench-uml
bench-uml: bench-build ## Run bench over AF_VSOCK in a User-Mode Linux guest; its timings do not compare
	$(GO) build -o bin/uml ./e2e/uml
	bin/uml bin/bench -vsock -smoke -rows exec,rate,stdout,stdin,idle,soak $(BENCH_FLAGS)

.PHONY: bench-qemu
bench-qemu: bench-build ## Run bench-base over AF_VSOCK in a guest of QEMU with two CPUs
	@BENCH_FLAGS='-rows exec,rate,stdout,stdin,ping $(BENCH_FLAGS)' BASE='$(BASE)' e2e/qemu/bench.sh

.PHONY: bench-base
bench-base: bench-build ## Measure agent and client against those of an earlier commit, BASE
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && mkdir "$$dir/$(BASE)" && \
	git archive $(BASE) | tar -x -C "$$dir/$(BASE)" && bin/bench -out bin/results -against "$$dir/$(BASE)" $(BENCH_FLAGS)

.PHONY: microbench
microbench: ## Run the Go benchmarks
	$(GO) test -run '^$$' -bench . ./...
	cd kubelet && $(GO) test -run '^$$' -bench . .

.PHONY: profile
profile: ## Profile exec and stdout: CPU, allocations, blocking
	@mkdir -p bin/profile
	@for what in Exec/transport=unix/procs=1$$ Exec/transport=unix/procs=64 Stdout; do \
		dir=bin/profile/$$(echo "$$what" | tr -c "A-Za-z0-9\n" "-" | sed "s,-*\$$,,"); mkdir -p "$$dir"; \
		$(GO) test -run '^$$' -bench "$$what" -benchtime 3s -o bin/profile/client.test \
			-outputdir "$$dir" -cpuprofile cpu -memprofile allocations -blockprofile blocking ./client || exit 1; \
		$(GO) tool pprof -top -nodecount 15 bin/profile/client.test "$$dir/cpu" || exit 1; \
	done
	@echo 'Show a profile: go tool pprof -http : bin/profile/client.test bin/profile/…/cpu (-sample_index=alloc_space for allocations)'

.PHONY: lint
lint: plain ## Run golangci-lint and go vet for every system, shellcheck, and plain
	@set -e; $(LINT); for os in $(LINT_FOR); do \
		echo "golangci-lint for $$os"; GOOS=$$os $(LINT_RUN) --build-tags e2e ./...; \
	done
	@set -e; $(LINT); for module in $(LINUX_MODULES); do echo "golangci-lint in $$module"; (cd $$module && $(LINT_RUN) ./...); done
	@set -e; for platform in $(VET_FOR); do \
		echo "go vet for $$platform"; GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) vet -tags e2e ./...; \
	done
	@if command -v shellcheck >/dev/null; then shellcheck $(SHELL_SCRIPTS); \
	elif [ -n "$$CI" ]; then echo 'make lint: shellcheck not found: apt-get install shellcheck' >&2; exit 1; \
	else echo 'make lint: scripts NOT CHECKED, shellcheck not found: apt-get install shellcheck' >&2; fi

# The counts in internal/plain/ratchet.txt may fall and may not rise.
.PHONY: plain
plain: ## Check the English of comments, texts and Markdown
	@$(GO) run ./internal/plain/cmd

.PHONY: plain-lower
plain-lower: ## Lower the ratchet of plain after texts were rewritten
	@$(GO) run ./internal/plain/cmd -lower

.PHONY: fmt
fmt: ## Format the code: gofumpt and import order
	@$(LINT); for module in $(MODULES); do (cd $$module && "$$lint" fmt ./...) || exit 1; done

.PHONY: fmt-check
fmt-check: ## Fail if make fmt would change a file
	@$(LINT); for module in $(MODULES); do (cd $$module && "$$lint" fmt --diff ./...) || exit 1; done

.PHONY: tidy
tidy: ## Run go mod tidy in each module
	@for module in $(MODULES); do (cd $$module && $(GO) mod tidy) || exit 1; done

.PHONY: tidy-check
tidy-check: ## Fail if make tidy would change a file
	@for module in $(MODULES); do (cd $$module && $(GO) mod tidy -diff) || exit 1; done

.PHONY: golden
golden: ## Rewrite testdata/wire from the current encoder
	$(GO) test ./internal/wire -run Golden -update

.PHONY: docs
docs: ## Rewrite docs/cli.md, docs/man and packaging/completions from the command line's grammar
	$(GO) test ./cmd/cocoon-agent -run 'TestCLIDocIsCurrent|TestManPagesAreCurrent|TestCompletionsAreCurrent' -update

.PHONY: clean
clean: ## Remove bin
	rm -rf bin
