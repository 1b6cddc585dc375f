# `make` lists the targets. Each step of a run prints a headline; the first that fails ends the run with its name.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(CURDIR)/target/tools/bin:$(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 10

# How long the soak is, and how long a million sessions beat.
SOAK ?= 30m
MILLION ?= 10m

# Flags of the benchmark.
BENCH ?=

# How long two nodes are stormed.
STORM_SECONDS ?= 120

# What each step of a run took, in seconds.
STEPS := target/steps
# Why tests were skipped, a line each time.
export SKIPPED_TESTS := $(CURDIR)/target/skipped

# $(call step,headline,command): the command's own output is the last word when all is well.
define step
	@printf '\n== %s\n' '$(1)'
	@began=$$EPOCHSECONDS; $(2) || { printf '\nFAILED: %s\n' '$(1)' >&2; exit 1; }; \
	    mkdir -p $(dir $(STEPS)); printf '%6d s  %s\n' "$$((EPOCHSECONDS - began))" '$(1)' >> $(STEPS)
endef

.PHONY: help storm test check quick unit clients extension monitoring browsers setup fmt vectors no-std bench bench-smoke bench-micro soak soak-short siege-short million fuzz dist

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

test: ## everything: setup, check, no-std, vectors, fuzz, the tests (browsers among them), a cluster in a storm, alerts and dashboards, a short soak and a siege, and whether the benchmark works
	@rm -f $(STEPS) $(SKIPPED_TESTS)
	@$(MAKE) setup
	@$(MAKE) check
	@$(MAKE) no-std
	@$(MAKE) vectors
	@$(MAKE) fuzz
	@$(MAKE) unit
	@$(MAKE) storm
	@$(MAKE) clients
	@$(MAKE) monitoring
	@$(MAKE) soak-short
	@$(MAKE) siege-short
	@$(MAKE) bench-smoke
	@printf '\n== what each step took\n'; cat $(STEPS); awk '{ all += $$1 } END { printf "%6d s  all\n", all }' $(STEPS)
	@if [ -s $(SKIPPED_TESTS) ]; then printf 'skipped: %s\n' "$$(sort -u $(SKIPPED_TESTS) | paste -sd ';' -)"; else echo 'skipped: nothing'; fi

check: ## formatting, lints, dependencies, documentation
	$(call step,formatting,cargo fmt --all --check)
	$(call step,lints,cargo clippy --locked --workspace --all-targets -- -D warnings)
	$(call step,dependencies,cargo deny --locked --log-level error check bans licenses sources)
	$(call step,documentation,python3 tests/docs/check.py)
	$(call step,imports between rooms,python3 tests/docs/house.py)
	$(call step,plain words,python3 tests/docs/words.py)

quick: ## what to run before each commit: formatting, lints, the unit tests of the library
	$(call step,formatting,cargo fmt --all --check)
	$(call step,lints,cargo clippy --locked --workspace --all-targets -- -D warnings)
	$(call step,unit tests,cargo test --locked --quiet --lib)

unit: ## the tests of the workspace, those of the built binary and the browsers too
	$(call step,tests,cargo test --locked --workspace)

monitoring: ## alerts and dashboards against a Prometheus that scrapes a loaded gastank
	$(call step,monitoring: build,$(BUILD_WITH_TESTS))
	$(call step,monitoring,python3 tests/monitoring/check.py --live target/debug)

browsers: ## Chromium and Firefox alone, against the distributed build; `make unit` runs them against the development build
	$(call step,dist build,cargo build --locked --profile dist --bin gastank)
	$(call step,browsers,GASTANK_TEST_PROGRAM=$(CURDIR)/target/dist/gastank cargo test --locked --test browsers)

setup: ## install what the tests need and is not there
	$(call step,setup,tests/setup.sh)

fmt: ## format the code
	@cargo fmt --all

no-std: ## the wire format without the standard library
	$(call step,wire without std,cargo build --locked --package wire-no-std)

vectors: ## the test vectors, checked by an implementation that shares nothing with ours
	$(call step,vectors,python3 tests/vectors/check.py)

bench: ## what operations cost beside floors and other servers; BENCH='--only udp', BENCH=--quick
	$(call step,bench: build,cargo build --locked --profile dist --package gastank --package loadtest --package floors --bins)
	$(call step,bench: foreign servers,benches/peers.sh)
	$(call step,bench: side by side,python3 benches/side_by_side $(BENCH))

# Programs as the tests have built them: features of dependencies depend on which targets are selected, and another selection
# would compile most dependencies again.
BUILD_WITH_TESTS := cargo build --locked --workspace --bins --tests

extension: ## the browser extension, one zip for each browser in clients/extension/dist
	$(call step,setup,tests/setup.sh)
	$(call step,extension,cd clients && npm run --silent build && npm run --silent lint)

clients: ## heartbeat library, browser extension, scripts of landing pages and shops: types, size, lint, tests in Node.js, Chromium and Firefox against the debug build
	$(call step,setup,tests/setup.sh)
	$(call step,clients: service,$(BUILD_WITH_TESTS))
	$(call step,clients: build,cd clients && npm run --silent build)
	$(call step,clients: types and size,cd clients && npm run --silent check)
	$(call step,clients: lint,cd clients && npm run --silent lint)
	$(call step,clients: tests,cd clients && npm run --silent test)

# Of short rounds. Its figures mean nothing.
bench-smoke: ## whether `make bench` works
	$(call step,bench: build,$(BUILD_WITH_TESTS))
	$(call step,bench: smoke,python3 benches/side_by_side --quick --built target/debug)

storm: ## two nodes on a real CQL server, of which everything fails at random, for STORM_SECONDS (120)
	$(call step,storm,STORM_SECONDS=$(STORM_SECONDS) cargo test --locked --workspace --test cluster -- --ignored --nocapture storm::)

soak: ## everything at once for SOAK (30m): nothing is lost, and memory stays flat
	$(call step,soak: build,cargo build --locked --profile dist --package gastank --package loadtest --bins)
	$(call step,soak of $(SOAK),loadtest/soak.sh target/dist $(SOAK))

million: ## a million sessions for MILLION (10m): no beat is lost, nobody times out, a quarter of a core
	$(call step,million: build,cargo build --locked --profile dist --package gastank --package loadtest --package floors --bins)
	$(call step,a million sessions for $(MILLION),loadtest/million.sh target/dist $(MILLION))

# A minute, ramp included.
soak-short:
	$(call step,soak: build,$(BUILD_WITH_TESTS))
	$(call step,short soak,loadtest/soak.sh target/debug 50s)

# With what the tests have built. All attackers at once beside good clients, for a minute.
siege-short:
	$(call step,siege: build,$(BUILD_WITH_TESTS))
	$(call step,siege,loadtest/soak.sh target/debug 45s siege)

bench-micro: ## the pieces by themselves, in process
	$(call step,benches,cargo bench --locked --workspace --bench '*')

# No sanitizer: we forbid unsafe code, panics and hangs are what there is to find, and the pinned compiler will do.
FUZZ_OPTIONS := --sanitizer none

fuzz: ## each fuzz target for FUZZ_SECONDS (10), from fuzz/seeds/TARGET where there are any
	$(call step,fuzz: build,cargo fuzz build $(FUZZ_OPTIONS))
	@began=$$EPOCHSECONDS; for target in $$(cargo fuzz list); do \
	    printf '\n== fuzz: %s\n' "$$target"; \
	    mkdir -p "fuzz/corpus/$$target"; seeds=; [ ! -d "fuzz/seeds/$$target" ] || seeds="fuzz/seeds/$$target"; \
	    cargo fuzz run $(FUZZ_OPTIONS) "$$target" "fuzz/corpus/$$target" $$seeds -- \
	        -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 \
	        || { printf '\nFAILED: fuzz: %s\n' "$$target" >&2; exit 1; }; \
	done; printf '%6d s  fuzz: run\n' "$$((EPOCHSECONDS - began))" >> $(STEPS)

dist: ## the program, image and chart, with checksums and a bill of materials, in target/package
	$(call step,dist build,cargo build --locked --profile dist --bin gastank)
	$(call step,distribution,deploy/dist.sh)
