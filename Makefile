# Every target makes its own set-up: see tools/setup. Nothing is done twice.
SHELL := /bin/bash
BIN := .venv/bin
# As many processes as processors, by the rules of tests/conftest.py.
SPREAD := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
.DEFAULT_GOAL := help
.PHONY: help demo lab test test-kernel test-clients test-browser screenshots test-api check bench bench-many bench-config bench-rest bench-web bench-twin same fuzz fuzz-engine soak mutants clean

help: ## show this list
	@bold=; cyan=; plain=; \
	if [ -t 1 ] && [ -z "$$NO_COLOR" ]; then bold=$$'\e[1m'; cyan=$$'\e[36m'; plain=$$'\e[0m'; fi; \
	echo; echo "  $${bold}Culvert$${plain}  an IPsec gateway with manually keyed security associations"; echo; \
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name text; do \
	    printf '  %smake %-12s%s %s\n' "$$cyan" "$$name" "$$plain" "$$text"; done; \
	echo; echo "  demo, lab, test and bench need root: they make network namespaces, and take them away again."; echo

demo: ## two gateways carry real traffic between two sites, then everything is taken down (root, about a minute)
	@tools/setup lab
	@$(BIN)/culvert lab demo $(ARGS)

lab: ## the same two sites, left up for you to play with (root)
	@tools/setup lab
	@$(BIN)/culvert lab up $(ARGS)

test: ## every test; those that need root or a tool that is not there say so (root)
	@tools/setup dev
	@$(BIN)/pytest $(SPREAD) $(ARGS)

test-kernel: ## against a real Linux kernel in a small virtual machine (minutes; --short, --row NAME, --write-docs)
	@tools/setup run
	@$(BIN)/python -m tests.kernel.run $(ARGS)

test-clients: ## other people's programs that talk to Culvert, unmodified: over SSH and iControl REST (root)
	@tools/setup clients
	@$(BIN)/pytest $(SPREAD) -o python_files='client_*.py' tests/clients $(ARGS)

test-browser: ## the GUI in a real Chromium: the procedure by clicking, every page, keyboard, no script (root; ARGS="-m 'not long'")
	@tools/setup browser
	@$(BIN)/pytest $(SPREAD) -o python_files='browser_*.py' tests/browser $(ARGS)

screenshots: ## a picture of every page, at three widths, light and dark, in .build/screenshots (root; --only NAME, --docs)
	@tools/setup browser
	@$(BIN)/python -m tests.browser.shots $(ARGS)

test-api: ## whether the description of the REST API is true, by requests made out of it (root; 30 minutes, --short, --minutes)
	@tools/setup api
	@$(BIN)/python -m tests.rest.api $(ARGS)

check: ## ruff, mypy --strict, import rules, the other house rules, and the engine's own (one of its tests needs root)
	@tools/setup dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/pytest tests/house
	@tools/engine check

bench: ## plain forwarding, Culvert and its peers end to end, in turns (root; --short, --only NAME, --list, --write-docs)
	@tools/setup bench
	@$(BIN)/python -m bench.run $(ARGS)

bench-many: ## what packets pay for many SAs beside their own, 1 to 100,000 tunnels (root; --sizes 1 1000, --rounds 5)
	@tools/setup lab
	@$(BIN)/python -m bench.many $(ARGS)

bench-config: ## how long configuration takes as it grows, 100 to 100,000 tunnels (root; --sizes 100 1000, --write-docs)
	@tools/setup lab
	@$(BIN)/python -m bench.configuration $(ARGS)

bench-rest: ## 200 clients read and write by REST at once, for a minute (root; --short)
	@tools/setup run
	@$(BIN)/python -m bench.rest $(ARGS)

bench-web: ## how long pages of the GUI take with 100, 1,000 and 10,000 tunnels (root; --sizes 100 1000)
	@tools/setup lab
	@$(BIN)/python -m bench.pages $(ARGS)

bench-twin: ## the readable gateway in memory, next to the bare cipher in the same run
	@tools/setup run
	@$(BIN)/python bench/twin.py $(ARGS)

same: ## random packets, good and hostile, through the readable gateway and each engine (--short, --packets 10000000, --jobs 2)
	@tools/setup dev
	@$(BIN)/python -m tests.engine.run $(ARGS)

fuzz: ## hostile octets, steered by coverage, at every parser (--short, --seconds 60, --runs 1000000, --target NAME)
	@tools/setup fuzz
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

fuzz-engine: ## the same for the native engine: its parsers, and batches against single packets (--short, --seconds, --target)
	@tools/setup run
	@$(BIN)/python -m tests.fuzz.native $(ARGS)

soak: ## two gateways under traffic while everything about them changes, two hours long (root; --minutes 30, --short)
	@tools/setup lab
	@$(BIN)/python -m tests.soak.run $(ARGS)

mutants: ## whether the tests notice small mistakes put into the code (some minutes)
	@tools/setup fuzz
	@$(BIN)/python -m tests.mutation.run $(ARGS)

clean: ## remove what set-up and the tools left in this clone
	rm -rf .venv .build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
