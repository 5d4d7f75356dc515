# A thin front of CMake: `make help` lists the targets. Presets for sanitizers, Clang, fuzzing and arm64 are in
# CMakePresets.json; what continuous integration runs is in .ci/run.

BUILD  ?= build
PREFIX ?= /usr/local
PROMPT ?= Once upon a time, there was a little girl named
JOBS   ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# Recipes look for tools after bootstrap has run, hence shell and not make variables.
GENERATOR    = $$(command -v ninja >/dev/null 2>&1 && echo -G Ninja)
CLANG_FORMAT = $$(command -v clang-format-14 || command -v clang-format)
CLANG_TIDY   = $$(command -v clang-tidy-14 || command -v clang-tidy)
OUR_SOURCES  = git ls-files --cached --others --exclude-standard '*.c' '*.h'

.PHONY: all run test install uninstall bench format lint clean help configure

all: configure ## build the command (build/tern) and the library
	@cmake --build $(BUILD) --parallel $(JOBS) --target tern_command tern_static tern_shared

run: all ## build, then generate text with the built-in model
	@$(BUILD)/tern run --echo -p "$(PROMPT)" -n 150

test: configure ## build everything and run all tests
	@cmake --build $(BUILD) --parallel $(JOBS)
	@cd $(BUILD) && ctest --output-on-failure --parallel $(JOBS)

install: all ## install under PREFIX (/usr/local); DESTDIR is respected
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD) --prefix "$(PREFIX)"

uninstall: ## remove what the last `make install` put there (same DESTDIR)
	@test -f $(BUILD)/install_manifest.txt || { echo "nothing was installed from $(BUILD)"; exit 1; }
	@while IFS= read -r file || [ -n "$$file" ]; do rm -fv "$(DESTDIR)$$file"; done <$(BUILD)/install_manifest.txt

bench: all ## measure speed with the built-in model
	@$(BUILD)/tern bench

format: ## rewrite the C sources in the project's style
	@$(OUR_SOURCES) | xargs $(CLANG_FORMAT) -i

lint: configure ## clang-format (check only) on all sources, clang-tidy on what is installed
	@$(OUR_SOURCES) | xargs $(CLANG_FORMAT) --dry-run -Werror
	@sed -n 's/^ *"file": "\(.*\/\(src\|examples\)\/.*\)".*/\1/p' $(BUILD)/compile_commands.json | sort -u | \
		xargs -P $(JOBS) -n 4 $(CLANG_TIDY) -p $(BUILD) --quiet
	@echo "lint: clean"

clean: ## remove the build folder
	@rm -rf $(BUILD)

configure:
	@tools/bootstrap.sh
	@test -f $(BUILD)/CMakeCache.txt || cmake -S . -B $(BUILD) $(GENERATOR) -DCMAKE_BUILD_TYPE=Release

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

SHELL := /bin/bash
.DEFAULT_GOAL := all
