# SPDX-License-Identifier: Apache-2.0
# The words for everyday work; Meson does it. `make help` lists them.
T ?= 30
PREFIX ?= /usr/local
DESTDIR ?=
MESON_OPTIONS ?=

.PHONY: all build test check demo asan tsan lint fuzz bench soak man install deb deb-check clean help
all: build

help:
	@echo "make            build into build/ (installs what the build needs, if missing)"
	@echo "make demo       move a Vault file tree into a MariaDB, break it on the way, resume, verify, go back"
	@echo "make test       unit, contract and other quick tests"
	@echo "make check      everything a change has to pass; ends with one line of counts"
	@echo "make asan tsan  the tests under AddressSanitizer + UBSan, and under ThreadSanitizer"
	@echo "make lint       gcc -fanalyzer, clang-tidy, shellcheck, mandoc, clang-format"
	@echo "make fuzz T=30  every fuzz target for T seconds"
	@echo "make bench      times beside other ways to do it (takes long)"
	@echo "make soak       the whole crash matrix (takes long)"
	@echo "make install    into PREFIX (/usr/local), with man pages"
	@echo "make deb        a Debian package, into build-deb/"
	@echo "make clean      remove all build folders"

build/build.ninja:
	tools/install-deps build
	meson setup build --prefix $(PREFIX) $(MESON_OPTIONS)

build: build/build.ninja
	ninja -C build

test: build
	meson test -C build --print-errorlogs --no-suite soak

check:
	tools/check

demo:
	tools/install-deps demo
	tools/demo

asan:
	tools/install-deps check
	tools/sanitize address,undefined build-asan

tsan:
	tools/install-deps check
	tools/sanitize thread build-tsan

lint:
	tools/install-deps lint
	tools/lint

fuzz:
	tools/install-deps lint
	tools/fuzz $(T)

bench:
	tools/install-deps check
	tools/bench --million
	tools/bench keyring

soak:
	tools/check soak

man: build
	tools/man build/man

install: build man
	DESTDIR="$(DESTDIR)" meson install -C build --no-rebuild
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1" "$(DESTDIR)$(PREFIX)/share/man/man5" "$(DESTDIR)$(PREFIX)/share/man/man7"
	for page in build/man/*; do install -m 644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/"; done

deb:
	tools/deb

deb-check: deb
	tools/deb-check build-deb/*.deb

clean:
	rm -rf build build-bench build-deb build-check build-asan build-tsan build-fuzz build-analyze build-tidy
