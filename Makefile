# What there is to do with proxyd's source. Nothing is needed but Go.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS   = -X main.version=$(VERSION)
PREFIX   ?= /usr/local
# What 'make bench' passes on: docs/performance.md.
BENCHFLAGS ?=
# How long each benchmark of 'make microbench' and each fuzz target runs.
BENCHTIME ?= 200ms
FUZZTIME  ?= 1m
# How long 'make torture' torments.
TORTURE   ?= 3m

# What runs off the event loop, where goroutines and processes meet.
RACE = ./internal/... ./limiter ./lb/... ./supervisor/...

.PHONY: help run build install test check lint race smoke bench balance microbench fuzz e2e peers soak torture clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: build ## build proxyd and see it work: a proxy before two TLS origins, on loopback
	./proxyd demo

build: ## build ./proxyd
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o proxyd ./cmd/proxyd

install: build ## install proxyd into $(DESTDIR)$(PREFIX)/bin
	install -D -m 0755 proxyd $(DESTDIR)$(PREFIX)/bin/proxyd

test: ## all tests but the long ones
	$(GO) test -short ./...

check: lint test race smoke peers e2e ## all that CI checks

lint: ## formatting, vet, staticcheck
	@unformatted=$$($(GO) tool gofumpt -l .) && \
	if [ -n "$$unformatted" ]; then \
		echo "not formatted; 'go tool gofumpt -w .' does it:"; echo "$$unformatted"; exit 1; \
	fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

race: ## the tests that matter to it under the race detector; needs a C compiler
	@if [ "$$($(GO) env CGO_ENABLED)" = 1 ]; then \
		echo "$(GO) test -race $(RACE)"; $(GO) test -race $(RACE); \
	else \
		echo "race: skipped, there is no C compiler"; \
	fi

smoke: ## each fuzz target for a few seconds
	@$(MAKE) --no-print-directory fuzz FUZZTIME=3s

bench: build ## proxyd beside a relay floor, nginx and haproxy; a minute and a half, BENCHFLAGS='-rounds 5'
	$(GO) run ./cmd/proxybench $(BENCHFLAGS)

balance: build ## proxyd beside nginx and HAProxy before 50 servers that fail; eight minutes, BENCHFLAGS='-for 20s'
	$(GO) run ./cmd/proxybench balance $(BENCHFLAGS)

microbench: ## benchmarks of functions, each for BENCHTIME (200ms)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

# A fuzz target is a function FuzzX(f *testing.F); 'go test' takes one at a time.
fuzz: ## each fuzz target for FUZZTIME (1m), one after another
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | \
	while IFS=: read -r file target; do \
		package=$$(dirname "$$file") target=$${target#func }; \
		echo "== $$package $$target for $(FUZZTIME)"; \
		GO="$(GO)" .ci/fuzz "$$package" "$$target" $(FUZZTIME) || exit 1; \
	done

e2e: ## the end-to-end tests and scripts of cmd/proxyd, long ones too
	$(GO) test -count=1 -timeout 18m ./cmd/proxyd/...

peers: ## what 'make e2e' meets if it is there: the WebSocket server ws, by npm
	@if command -v npm >/dev/null; then \
		npm install --silent --no-audit --no-fund --prefix "$${XDG_CACHE_HOME:-$$HOME/.cache}/proxyd-e2e" ws@8; \
	else \
		echo "peers: skipped, there is no npm"; \
	fi

soak: ## five minutes of mixed load, deaths and reloads
	PROXYD_SOAK=5m $(GO) test -count=1 -v -timeout 15m -run TestSoak ./cmd/proxyd/e2e

torture: ## reloads, upgrades and deaths under load, at length; PEERS=1 for nginx and HAProxy too
	PROXYD_TORTURE=$(TORTURE) $(if $(PEERS),PROXYD_PEERS=1) $(GO) test -count=1 -v -timeout 60m \
		-run 'TestNothingIsLost|TestWaiting|TestTorture|TestPeers|TestWhat|Killed|Acceptance' ./cmd/proxyd/e2e
	PROXYD_TORTURE=$(TORTURE) $(GO) test -count=1 -timeout 20m -run 'Killed|Processes' ./limiter

clean: ## remove what was built
	rm -f proxyd
