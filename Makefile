# Every command of a contributor, one target each. `make chat` and `make test` need nothing but a
# Debian-like system with Python 3.11+ (with venv and headers), a C compiler, zlib's headers and make.

PYTHON ?= python3
VENV ?= .venv
CC ?= gcc
BUILD := build
BIN := $(VENV)/bin

WARNINGS := -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wundef -Wpointer-arith -Wwrite-strings -Wcast-align \
	-Wimplicit-fallthrough -Werror
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
PACKAGE := pyproject.toml setup.py $(wildcard csrc/*/*.[ch]) $(shell find python/atalanta -name '*.py*')
# Test processes: most tests wait, for sockets and for times that are part of what they test.
PARALLEL ?= -n 3 --dist loadfile
# tests/again.py in its place tries failed tests once more, as CI does.
PYTEST ?= -m pytest
# The directories of tests for `make test-python`: all, if not said otherwise.
ROOMS ?=
CORE := $(wildcard csrc/core/*.c)
CORE_TESTS := $(patsubst tests/core/%.c,$(BUILD)/core/%,$(wildcard tests/core/test_*.c))
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: help lint lint-python lint-types lint-c package \
	chat chat-redis notifications ticker transports file-transfer handshake-explorer fastapi-chat \
	test test-core test-python test-newer test-slow soak test-werror test-sanitize \
	test-architectures test-valgrind test-debug test-threads \
	coverage coverage-core coverage-ext coverage-python coverage-counted fuzz fuzz-replay fuzz-python \
	test-autobahn test-autobahn-tls test-autobahn-deflate test-uvicorn test-browser screenshots conformance \
	bench bench-full bench-compare bench-micro docs format clean

help:
	@echo "make chat           serve the chat example"
	@echo "make chat-redis     the chat with two processes, on Redis (REDIS_URL)"
	@echo "make notifications  serve the notifications example"
	@echo "make ticker         serve the ticker example"
	@echo "make transports     polling, long polling, server-sent events and WebSocket side by side"
	@echo "make file-transfer  files over WebSockets, with progress"
	@echo "make handshake-explorer   keys, frames and a server's answers, bit by bit"
	@echo "make fastapi-chat   the chat without Django"
	@echo "                    PORT=8001 serves an example on another port"
	@echo "make test           all unit, contract and integration tests"
	@echo "make test-core      C unit tests under AddressSanitizer and UBSan"
	@echo "make test-python    Python tests"
	@echo "make test-newer     Python tests on CPython NEWER=3.15, in a newer Debian; as root, with debootstrap"
	@echo "make test-slow      Python tests of minutes: peers under the same contracts, a soak, faults, proxies"
	@echo "make soak           SOAK_MINUTES=30 of traffic, misbehaving clients and outages; nothing lost, nothing grows"
	@echo "make test-werror    build with every warning an error (CC=clang for clang)"
	@echo "make test-sanitize  Python tests with the C core's assertions, under AddressSanitizer and UBSan"
	@echo "make test-architectures   C unit tests and fuzz corpus as arm64, 32-bit ARM and s390x, under qemu"
	@echo "make test-valgrind  C unit tests under valgrind"
	@echo "make test-debug     Python tests with the C core's assertions, on python3-dbg where there is one"
	@echo "make test-threads   what threads share, under ThreadSanitizer"
	@echo "make coverage       the next three"
	@echo "make coverage-core  lines and branches of the C core that its tests reach; fails on a new gap"
	@echo "make coverage-ext, coverage-python   of csrc/ext and of the package, by the Python tests; fails below its goals, and on a new gap"
	@echo "make fuzz           libFuzzer on the C core, FUZZ_SECONDS=60 for each target (FUZZ=conn for one)"
	@echo "make fuzz-replay    the fuzz corpus alone, with any compiler"
	@echo "make fuzz-python    the protocol with a fake transport, under atheris"
	@echo "make test-autobahn  the Autobahn test suite, on asyncio and uvloop"
	@echo "make test-autobahn-tls, test-autobahn-deflate   the same over TLS; the compression cases"
	@echo "make test-uvicorn   uvicorn's own WebSocket tests, on our class"
	@echo "make test-browser   every example in Debian's Chromium; pictures in build/browser"
	@echo "make screenshots    remakes the pictures in docs/images"
	@echo "make conformance    the same checks against every server; writes docs/conformance.md"
	@echo "make bench          the main table: Atalanta beside daphne and the other servers"
	@echo "make bench-full     every workload, every server"
	@echo "make bench-compare  two commits: A=… B=…"
	@echo "make lint           ruff, mypy --strict, stubtest and clang-format"
	@echo "make package        source distribution and wheel in dist/, checked as PyPI and a user would"
	@echo "make docs           this documentation as a site in build/docs, every link in it checked"
	@echo "make format         C sources and the package as clang-format and ruff have them"
	@echo "make bench-micro    units of the C core, without a network"

# ---- The virtual environment ----

export PIP_DISABLE_PIP_VERSION_CHECK := 1

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv module is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/chat-installed: $(VENV)/made $(PACKAGE) examples/chat/requirements.txt
	@echo "Building Atalanta and installing what the chat needs into $(VENV): a minute or so"
	$(BIN)/python -m pip install --quiet . -r examples/chat/requirements.txt
	@touch $@

$(VENV)/test-installed: $(VENV)/made $(PACKAGE)
	$(BIN)/python -m pip install --quiet ".[test]"
	@touch $@

# ---- For users ----

PORT ?= 8000

chat: $(VENV)/chat-installed
	$(BIN)/python examples/chat/serve.py --port $(PORT)

$(VENV)/examples-installed: $(VENV)/made $(PACKAGE) $(wildcard examples/*/requirements.txt)
	@echo "Building Atalanta and installing what the examples need into $(VENV): a minute or so"
	$(BIN)/python -m pip install --quiet ".[redis]" $(patsubst %,-r %,$(wildcard examples/*/requirements.txt))
	@touch $@

chat-redis: $(VENV)/examples-installed
	cd examples/chat && REDIS_URL=$${REDIS_URL:-redis://localhost:6379} \
		$(abspath $(BIN))/python -m atalanta mysite.asgi:application --port $(PORT) --workers 2

notifications: $(VENV)/examples-installed
	cd examples/notifications && $(abspath $(BIN))/python manage.py migrate -v0 && \
		$(abspath $(BIN))/python manage.py demo_users && $(abspath $(BIN))/python manage.py runserver $(PORT)

ticker transports file-transfer: $(VENV)/examples-installed
	cd examples/$@ && $(abspath $(BIN))/python manage.py runserver $(PORT)

handshake-explorer fastapi-chat: $(VENV)/examples-installed
	cd examples/$@ && $(abspath $(BIN))/python -m uvicorn app:app --ws atalanta:WebSocketProtocol --port $(PORT)

# ---- Tests ----

test: test-core test-python

$(BUILD)/core/%: tests/core/%.c $(CORE) $(wildcard csrc/core/*.h) $(wildcard tests/core/*.h)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) $(SANITIZE) -Icsrc/core -o $@ $< $(CORE) -lz -pthread

test-core: $(CORE_TESTS)
	@for test in $(CORE_TESTS); do echo "$$test"; $$test || exit 1; done

test-python: $(VENV)/test-installed
	$(BIN)/python $(PYTEST) -m "not slow" $(PARALLEL) $(ROOMS)

# The Python suite on a CPython that this system has no package of, in a newer Debian below build.
NEWER ?= 3.15
test-newer:
	@mkdir -p $(BUILD)
	tests/newer_debian.sh $(BUILD)/debian make test-python PYTHON=python$(NEWER) VENV=$(BUILD)/venv-$(NEWER)

test-slow: $(VENV)/test-installed
	$(BIN)/python $(PYTEST) -m slow $(PARALLEL) --ignore=tests/autobahn --ignore=tests/browser

# Ends with a chart in build/soak; SOAK=--write also writes docs/images/soak.svg and the result in docs/soak.md.
SOAK_MINUTES ?= 30
soak: $(VENV)/test-installed
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES) --output $(BUILD)/soak $(SOAK)

test-werror: $(VENV)/made
	$(BIN)/python -m pip install --quiet "setuptools>=77"
	rm -rf $(BUILD)/werror
	CC=$(CC) ATALANTA_WERROR=1 $(BIN)/python setup.py -q build_ext --force \
		--build-lib $(BUILD)/werror --build-temp $(BUILD)/werror/objects

# Python is not built with the sanitizers, so their library is loaded first; in the servers that tests start too. What
# AddressSanitizer says is in a file, which fails the suite also where a test does not look at how a process ended.
SANITIZED := $(abspath $(BUILD))/sanitize
test-sanitize: $(VENV)/test-installed
	$(BIN)/python -m pip install --quiet "setuptools>=77"
	rm -rf $(SANITIZED)
	@mkdir -p $(SANITIZED)
	ATALANTA_BUILD=sanitize $(BIN)/python setup.py -q build_ext --force \
		--build-lib $(SANITIZED)/package --build-temp $(SANITIZED)/objects
	tar -C python -c --exclude='*.so' --exclude=__pycache__ atalanta | tar -C $(SANITIZED)/package -x
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:log_path=$(SANITIZED)/report \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:abort_on_error=1 \
	PYTHONMALLOC=malloc PYTHONPATH=$(SANITIZED)/package $(BIN)/python $(PYTEST) -m "not slow" $(PARALLEL)
	@for report in $(SANITIZED)/report.*; do [ ! -e "$$report" ] || { cat "$$report"; exit 1; }; done

# Its own interpreter, as extensions of a debug build do not load into another one. It counts all references
# and checks how C uses them; any other Python serves for the assertions alone. multidict, which aiohttp uses, is
# taken without its C part: a debug build looks at each new object that the collector shall know, and multidict's
# are shown to it before their fields are set (multidict_tp_traverse() then follows a null pointer).
DEBUG_PYTHON ?= $(shell command -v python3-dbg || echo $(PYTHON))
test-debug:
	$(DEBUG_PYTHON) -m venv $(BUILD)/venv-debug
	$(BUILD)/venv-debug/bin/python -m pip install --quiet ".[test]" "setuptools>=77"
	ATALANTA_BUILD=debug $(BUILD)/venv-debug/bin/python setup.py -q build_ext --force \
		--build-lib $(BUILD)/debug --build-temp $(BUILD)/debug/objects
	tar -C python -c --exclude='*.so' --exclude=__pycache__ atalanta | tar -C $(BUILD)/debug -x
	PYTHONPATH=$(abspath $(BUILD)/debug) MULTIDICT_NO_EXTENSIONS=1 \
		$(BUILD)/venv-debug/bin/python $(PYTEST) -m "not slow" $(PARALLEL)

# Tests in which several threads call the C core, or several loops run side by side. ThreadSanitizer takes the
# interpreter's lock for what it is, so it reports what is touched without it; it stops at the first report.
# It must not wait when a process ends, as it does: a uvloop in a daemon thread would meet an interpreter that is gone.
THREADED := tests/ext/test_processes.py tests/ext/test_broadcast.py tests/ext/test_delivery.py tests/ext/test_mailbox.py \
	tests/ext/test_turn.py tests/ext/test_timers.py tests/consumers tests/channels/test_layer_groups.py \
	tests/channels/test_broadcast.py tests/layers/test_local.py tests/asgi/test_stats.py
# The C core in many threads; then the tests of loops in several threads, and of calls from other threads.
$(BUILD)/threads/%: tests/core/%.c $(CORE) $(wildcard csrc/core/*.h) $(wildcard tests/core/*.h)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) -fsanitize=thread -Icsrc/core -o $@ $< $(CORE) -lz -pthread

test-threads: $(BUILD)/threads/test_threads $(VENV)/test-installed
	$(BUILD)/threads/test_threads
	$(BIN)/python -m pip install --quiet "setuptools>=77"
	CC=$(CC) ATALANTA_BUILD=thread $(BIN)/python setup.py -q build_ext --force \
		--build-lib $(BUILD)/thread --build-temp $(BUILD)/thread/objects
	tar -C python -c --exclude='*.so' --exclude=__pycache__ atalanta | tar -C $(BUILD)/thread -x
	LD_PRELOAD="$$($(CC) -print-file-name=libtsan.so)" TSAN_OPTIONS=halt_on_error=1:atexit_sleep_ms=0 \
	PYTHONPATH=$(abspath $(BUILD)/thread) $(BIN)/python $(PYTEST) -m "not slow" $(PARALLEL) -k "not fork" $(THREADED)

# Foreign programs run under qemu: what they need comes from Debian's packages.
test-architectures:
	tests/core/run_architectures.sh $(BUILD)/architectures

$(BUILD)/valgrind/%: tests/core/%.c $(CORE) $(wildcard csrc/core/*.h) $(wildcard tests/core/*.h)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) -Icsrc/core -o $@ $< $(CORE) -lz -pthread

test-valgrind: $(patsubst $(BUILD)/core/%,$(BUILD)/valgrind/%,$(CORE_TESTS))
	@for test in $^; do echo "$$test"; \
		valgrind --quiet --leak-check=full --error-exitcode=1 $$test || exit 1; done

coverage-core:
	CC=$(CC) $(PYTHON) tests/core/coverage.py $(BUILD)/coverage

# The Python suite once, counted in every process, also in the servers that it starts; then the two tables.
COVERED := $(BUILD)/covered
coverage-counted: $(VENV)/test-installed
	$(BIN)/python -m pip install --quiet ".[test,coverage]" "setuptools>=77"
	rm -rf $(COVERED)
	@mkdir -p $(COVERED)/python
	CC=gcc ATALANTA_BUILD=coverage $(BIN)/python setup.py -q build_ext --force \
		--build-lib $(COVERED)/package --build-temp $(COVERED)/objects
	tar -C python -c --exclude='*.so' --exclude=__pycache__ atalanta | tar -C $(COVERED)/package -x
	COVERAGE_DIRECTORY=$(abspath $(COVERED))/python PYTHONPATH=$(abspath $(COVERED)/package):$(abspath tests/covered) \
		$(BIN)/python $(PYTEST) -m "not slow" $(PARALLEL)

coverage-ext: coverage-counted
	$(BIN)/python tests/covered/report.py ext $(COVERED)/objects

coverage-python: coverage-counted
	$(BIN)/python tests/covered/report.py python $(COVERED)/python

coverage: coverage-core coverage-ext coverage-python

# ---- Fuzzing: see tests/fuzz/README.md ----

FUZZ_SECONDS ?= 60
FUZZ_TOGETHER ?= 1
FUZZ_SEED ?= 0
FUZZ ?=
fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_TOGETHER=$(FUZZ_TOGETHER) FUZZ_SEED=$(FUZZ_SEED) $(PYTHON) tests/fuzz/run.py $(FUZZ)

$(BUILD)/replay/%.o: csrc/core/%.c $(wildcard csrc/core/*.h)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) $(SANITIZE) -Icsrc/core -c -o $@ $<

$(BUILD)/replay/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/reference.c tests/fuzz/replay.c $(wildcard tests/fuzz/*.h) \
		$(patsubst csrc/core/%.c,$(BUILD)/replay/%.o,$(CORE))
	$(CC) -std=c11 -O1 -g $(WARNINGS) $(SANITIZE) -Icsrc/core -o $@ $(filter %.c %.o,$^) -lz

# The last input's name is shown for one that fails.
fuzz-replay: $(FUZZ_TARGETS:%=$(BUILD)/replay/fuzz_%)
	@for target in $(FUZZ_TARGETS); do echo "$(BUILD)/replay/fuzz_$$target"; \
		$(BUILD)/replay/fuzz_$$target tests/fuzz/corpus/$$target 2>$(BUILD)/replay/$$target.log || \
		{ tail -n 40 $(BUILD)/replay/$$target.log; exit 1; }; done

# The extension is built so that the fuzzer sees its branches; the library with both runtimes is atheris's.
FUZZ_PYTHON := $(BUILD)/fuzz-python
fuzz-python: $(VENV)/test-installed
	$(BIN)/python -m pip install --quiet "setuptools>=77" "atheris>=3"
	CC=clang LDSHARED="clang -shared" CFLAGS="-UNDEBUG -g -fsanitize=address,undefined,fuzzer-no-link" \
		$(BIN)/python setup.py -q build_ext --force --build-lib $(FUZZ_PYTHON) --build-temp $(FUZZ_PYTHON)/objects
	tar -C python -c --exclude='*.so' --exclude=__pycache__ atalanta | tar -C $(FUZZ_PYTHON) -x
	FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_SEED=$(FUZZ_SEED) \
	ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=32:malloc_context_size=0 PYTHONMALLOC=malloc PYTHONPATH=$(FUZZ_PYTHON) \
		$(BIN)/python tests/fuzz/run.py $(FUZZ) protocol --command "env \
		LD_PRELOAD=$$($(BIN)/python -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so \
		$(BIN)/python tests/fuzz/protocol.py -max_len=1024 -timeout=20"

test-autobahn: $(VENV)/test-installed
	tests/autobahn/install.sh $(BUILD)/autobahn
	$(BIN)/python -m tests.autobahn.run --suite $(BUILD)/autobahn --loop asyncio --jobs 2
	$(BIN)/python -m tests.autobahn.run --suite $(BUILD)/autobahn --loop uvloop --jobs 2

test-autobahn-tls: $(VENV)/test-installed
	tests/autobahn/install.sh $(BUILD)/autobahn
	$(BIN)/python -m tests.autobahn.run --suite $(BUILD)/autobahn --loop asyncio --tls --jobs 2
	$(BIN)/python -m tests.autobahn.run --suite $(BUILD)/autobahn --loop uvloop --tls --jobs 2

# Every offer of compression, with messages up to this many bytes: the large ones take most of the time.
LARGEST ?= 131072
test-autobahn-deflate: $(VENV)/test-installed
	tests/autobahn/install.sh $(BUILD)/autobahn
	$(BIN)/python -m tests.autobahn.run --suite $(BUILD)/autobahn --loop uvloop --jobs 2 \
		--need-compression --cases '12.*' '13.*' --largest $(LARGEST) --timeout 1800

$(VENV)/conformance-installed: $(VENV)/test-installed tests/conformance/requirements.txt
	$(BIN)/python -m pip install --quiet -r tests/conformance/requirements.txt
	@touch $@

test-uvicorn: $(VENV)/conformance-installed
	$(BIN)/python tests/conformance/uvicorn_suite/run.py

$(VENV)/browser-installed: $(VENV)/test-installed tests/browser/requirements.txt
	$(BIN)/python -m pip install --quiet -r tests/browser/requirements.txt
	@touch $@

test-browser: $(VENV)/browser-installed
	$(BIN)/python $(PYTEST) -m slow $(PARALLEL) tests/browser

# The charts in them need most of the time.
screenshots: $(VENV)/browser-installed
	SCREENSHOT_SECONDS=45 $(BIN)/python -m pytest -m slow tests/browser/test_screenshots.py
	$(BIN)/python -m tests.browser.pictures

# Runs the checks against every server and writes docs/conformance.md.
conformance: $(VENV)/conformance-installed
	$(BIN)/python -m tests.conformance --explain --write

# ---- Measurements ----

$(VENV)/bench-installed: $(VENV)/made $(PACKAGE) benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet . -r benchmarks/requirements.txt
	@touch $@

bench: $(VENV)/bench-installed
	$(BIN)/python -m benchmarks --output main

bench-full: $(VENV)/bench-installed
	$(BIN)/python -m benchmarks --full --output full

# Two commits in one run: make bench-compare A=main B=HEAD
bench-compare: $(VENV)/bench-installed
	$(BIN)/python -m benchmarks compare $(A) $(B)

bench-micro:
	@mkdir -p $(BUILD)
	$(CC) -std=c11 -O3 -Icsrc/core -o $(BUILD)/bench-micro benchmarks/micro/*.c $(CORE) -lz
	$(BUILD)/bench-micro $(MICRO)

# ---- Style, types, distributions ----

$(VENV)/lint-installed: $(VENV)/made $(PACKAGE)
	$(BIN)/python -m pip install --quiet ".[test,lint]"
	@touch $@

lint: lint-python lint-types lint-c

lint-python: $(VENV)/lint-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check python

# The package's sources, then the stub of the C core beside the module that is installed.
lint-types: $(VENV)/lint-installed
	$(BIN)/mypy
	$(BIN)/stubtest atalanta._core

lint-c: $(VENV)/lint-installed
	$(BIN)/clang-format --dry-run -Werror csrc/*/*.[ch]

format: $(VENV)/lint-installed
	$(BIN)/clang-format -i csrc/*/*.[ch]
	$(BIN)/ruff check --fix python
	$(BIN)/ruff format python

$(VENV)/docs-installed: $(VENV)/made $(PACKAGE)
	$(BIN)/python -m pip install --quiet ".[test,docs]"
	@touch $@

# Every warning is an error: a link or an anchor that leads nowhere, a name that does not exist.
docs: $(VENV)/docs-installed
	$(BIN)/python -m sphinx -W --keep-going -n -q -c docs . $(BUILD)/docs
	@echo "$(BUILD)/docs/index.html"

package: $(VENV)/made
	$(BIN)/python -m pip install --quiet ".[test,lint,package]"
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	ATALANTA_DISTRIBUTIONS=dist $(BIN)/python -m pytest -m slow tests/package/test_distributions.py

clean:
	rm -rf $(BUILD) $(VENV) dist python/*.egg-info python/atalanta/*.so
