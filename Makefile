# The two commands a fresh machine needs are `go run ./examples/app` and
# `make test`. The rest is what CI adds.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME   ?= 10s

.PHONY: test ci setup format vet staticcheck house modules fuzz consumer

# Tests of every module in the workspace, with the race detector. What is
# missing on the machine is installed first; nothing is skipped for want of it.
test: setup
	GATEWIRE_REQUIRE_TOOLS=1 go test -race -shuffle=on -timeout 15m work

ci: setup format vet staticcheck house test modules fuzz consumer

# gcc for -race, npm and Chromium for the official SDK and the browser.
setup:
	@scripts/setup.sh

format:
	@out=$$(gofmt -l .); test -z "$$out" || { echo "gofmt would change:"; echo "$$out"; exit 1; }

vet:
	go vet work

staticcheck:
	go run $(STATICCHECK) work

# Who may import whom, and which modules the root may require.
house:
	go test -count=1 ./internal/house

# Every module alone, as someone without our workspace sees it.
modules:
	scripts/modules.sh

# Each fuzz target for FUZZTIME.
fuzz:
	scripts/fuzz.sh $(FUZZTIME)

# A throw-away clone, tagged and imported by a module of its own.
consumer:
	scripts/consumer-check.sh
