# `make check` is the quick loop; `make test` is what CI runs; `make test-all` adds the other CoreDNS versions and every partial recording.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: check fmt clippy tidy unit range test test-all deny demo

check: fmt clippy unit

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

tidy:
	$(CARGO) xtask tidy

# Unit, property, golden and scenario tests, and `tidy` as one of them.
unit:
	$(CARGO) test --workspace --quiet

deny:
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then echo "skipped: cargo deny (cargo install --locked cargo-deny)"; \
	else $(CARGO) deny --locked check bans licenses sources && \
	if ! $(CARGO) deny --locked fetch db >/dev/null 2>&1; then echo "skipped: advisories (their database cannot be fetched here)"; \
	else $(CARGO) deny --locked check advisories; fi; fi

test:
	./.ci/steps fmt clippy deny unit score conformance browser range differential

test-all:
	TRUENAME_COREDNS_ALL=1 ./.ci/steps fmt clippy deny unit score subsets conformance browser range differential

demo:
	$(CARGO) run --package truename -- demo
