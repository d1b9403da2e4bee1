# Trivet. Start with `make demo`; everything a target needs, it installs or builds itself.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Go may be installed where a fresh shell does not look.
export PATH := $(PATH):/usr/local/go/bin:$(HOME)/go/bin

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/trivet-ha/trivet/internal/cli.version=$(VERSION)
PKGS     ?= ./...
FUZZTIME ?= 20s
ROUNDS   ?= 5
SECONDS  ?= 3

## First steps

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z][a-z-]*:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

.PHONY: demo
demo: setup-go ## The whole story on this machine: no root, nothing but loopback, under a minute (ARGS=--keep)
	@go run ./cmd/trivet demo $(ARGS)

.PHONY: build
build: setup-go ## One static binary: bin/trivet
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/trivet ./cmd/trivet

.PHONY: test
test: setup-test ## All tests, with the race detector
	go test -race -timeout 15m $(PKGS)

## While you work

.PHONY: check
check: setup-go ## The quick loop: format, vet, staticcheck, house rules, short tests
	@scripts/lint
	go test -short $(PKGS)

.PHONY: lint
lint: setup-go ## gofmt, go vet and staticcheck
	@scripts/lint

.PHONY: race
race: setup-test ## All tests, race detector, twice, in random order
	go test -race -count 2 -shuffle on -timeout 30m $(PKGS)

.PHONY: fuzz
fuzz: setup-go ## Every fuzz target for FUZZTIME each (default 20s)
	@scripts/fuzz $(FUZZTIME)

.PHONY: gen
gen: setup-go ## Regenerate what is generated: reference pages, schema
	go generate $(PKGS)

.PHONY: bench
bench: setup-bench build ## Compare with HAProxy and nginx on this machine (ROUNDS=5 SECONDS=3 ARGS=...)
	go run ./bench -rounds $(ROUNDS) -seconds $(SECONDS) $(ARGS)

.PHONY: microbench
microbench: setup-go ## Go benchmarks of the hot paths
	go test -run '^$$' -bench . -benchmem $(PKGS)

.PHONY: endure
endure: setup-go ## What takes minutes: ten million DNS queries, one in ten malformed; two hundred kills of processes
	TRIVET_TEST_LONG=1 go test -run Endures -timeout 30m -v ./balance/gslb
	TRIVET_TEST_LONG=1 go test -run Kills -timeout 30m -v ./test

## The machine

.PHONY: setup
setup: setup-test setup-bench ## Install what tests and benchmarks need, if it is missing (apt-get)

.PHONY: setup-go setup-test setup-bench
setup-go:
	@scripts/setup go
setup-test:
	@scripts/setup test
setup-bench:
	@scripts/setup bench

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist
