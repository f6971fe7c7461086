# Plain make in front of Meson and Ninja. Two commands matter: `make run` and `make check`.
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
BUILD ?= build
TEST_FLAGS ?=

# Knobs of single targets: run UP="--port 9000" · bench BENCH=PERF-4 · sim SEED=1 HOURS=24 · fuzz TARGET=json SECONDS=60 · lint ALL=1
UP ?=
BENCH ?=
SEED ?= 1
HOURS ?= 24
TARGET ?=
ALL ?=
# bash keeps a variable of its own of this name; only a value given to make counts.
FUZZ_SECONDS := $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),60)

.DEFAULT_GOAL := help
.PHONY: run check bench asan ubsan tsan fuzz sim tidy lint cover setup build web clean distclean help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## install what building, running and testing need
	@scripts/setup --check

build: ## compile everything, portal included
	@scripts/setup --run
	@scripts/build $(BUILD)
	@scripts/build-web

web: ## compile the portal only
	@scripts/build-web

run: build ## build and start the whole platform; Ctrl-C stops it (UP="--port 9000": flags of `hcp up`)
	@exec $(BUILD)/src/cmd/hcp up $(UP)

check: ## every test; the last line is "N passed, N failed"
	@scripts/setup --check
	@$(MAKE) build
	@tools/check --build $(BUILD) $(TEST_FLAGS)

bench: ## measure the promised numbers into build/bench.json (BENCH=PERF-4 for one)
	@scripts/setup --bench
	@$(MAKE) build
	@tools/bench --build $(BUILD) $(if $(BENCH),--only $(BENCH))

# One build folder per sanitizer, the whole Meson suite in each.
define sanitized
	@scripts/setup --run
	@scripts/build $(1) -Db_sanitize=$(2)
	@tools/check --build $(1) --only meson --slow 6 $(TEST_FLAGS)
endef

asan: ## Meson suite under AddressSanitizer (with leaks) and UBSan
	$(call sanitized,build-asan,address$(comma)undefined)

ubsan: ## Meson suite under UBSan alone
	$(call sanitized,build-ubsan,undefined)

tsan: ## Meson suite under ThreadSanitizer
	$(call sanitized,build-tsan,thread)

comma := ,

fuzz: ## every fuzz target for SECONDS (60) each, or TARGET alone
	@scripts/setup --check
	@tools/fuzz --seconds $(FUZZ_SECONDS) $(if $(TARGET),--target $(TARGET))

sim: build ## deterministic simulation of the platform: SEED=n HOURS=h
	@test -x $(BUILD)/tests/sim/sim_run || { echo "make sim: $(BUILD)/tests/sim/sim_run is not built in this tree" >&2; exit 1; }
	@$(BUILD)/tests/sim/sim_run --seed $(SEED) --hours $(HOURS)

tidy: ## the rules of the code that a machine can check
	@tools/tidy

lint: ## clang-tidy on changed files (ALL=1: on all), shellcheck, portal linters
	@scripts/setup --lint
	@scripts/build $(BUILD)
	@tools/lint --build $(BUILD) $(if $(ALL),--all)

cover: ## line and branch coverage of the Meson suite into build-cover/report
	@scripts/setup --check
	@scripts/build build-cover -Db_coverage=true
	@tools/check --build build-cover --only meson $(TEST_FLAGS)
	@mkdir -p build-cover/report
	@gcovr --root . --object-directory build-cover --filter src/ --exclude '.*\.gen\.c' --exclude-unreachable-branches \
		--print-summary --html-details build-cover/report/index.html build-cover
	@echo "report: build-cover/report/index.html"

clean: ## remove what was built; installed test packages stay
	@rm -rf build-asan build-ubsan build-tsan build-fuzz build-cover web/dist
	@if [ -d $(BUILD) ]; then find $(BUILD) -mindepth 1 -maxdepth 1 ! -name venv -exec rm -rf {} +; fi

distclean: clean ## remove every derived file; the state in var/ stays
	@rm -rf $(BUILD) web/node_modules
