# flexd: build, try, test. `make help` lists the targets.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null)
BUILT    ?= $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS   = -s -w -X flexd/firmware.version=$(VERSION) -X flexd/firmware.commit=$(COMMIT) -X flexd/firmware.built=$(BUILT)
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
SIZE_LIMIT = 20971520
export GOFLAGS ?= -buildvcs=false

.PHONY: help build demo test test-long test-deps lint vuln fuzz cross unit bench soak mutants ci ci-mutants clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

build: ## build bin/flexd for this machine, static
	$(BUILD) -o bin/flexd ./cmd/flexd

demo: build ## run the main job on simulated parts, with a live page (Ctrl-C ends it)
	./bin/flexd demo

test-deps: ## install the foreign parts that the whole-path tests use, where possible
	@./scripts/test-deps.sh

# The race detector needs a C compiler; CI insists on it, a bare machine may
# do without.
RACE = $$(if command -v gcc >/dev/null; then echo -race; elif [ -n "$$CI" ]; then echo -race; else echo "no C compiler: running without the race detector" >&2; fi)

test: test-deps ## run every test, with the race detector
	@GO="$(GO)" ./scripts/test.sh $(RACE) -shuffle=on -count=1 -parallel 4 -timeout 15m

test-long: export FLEXD_LONG = 1
test-long: ## run every test in its full amount: longer bursts, more random cases
	@GO="$(GO)" ./scripts/test.sh -shuffle=on -count=1 -parallel 4 -timeout 60m

lint: ## formatting, vet, staticcheck, exhaustive switches, shell scripts
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) tool exhaustive -d ./...
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; else echo "shellcheck is not installed: scripts not checked"; fi

fuzz: ## run every fuzz target for 20 seconds
	@./scripts/fuzz.sh 20s

cross: ## build static binaries for every platform and print their sizes
	@mkdir -p dist
	GOOS=linux GOARCH=arm GOARM=6 $(BUILD) -o dist/flexd-linux-armv6 ./cmd/flexd
	GOOS=linux GOARCH=arm GOARM=7 $(BUILD) -o dist/flexd-linux-armv7 ./cmd/flexd
	GOOS=linux GOARCH=arm64 $(BUILD) -o dist/flexd-linux-arm64 ./cmd/flexd
	GOOS=linux GOARCH=amd64 $(BUILD) -o dist/flexd-linux-amd64 ./cmd/flexd
	@for f in dist/flexd-linux-*; do s=$$(stat -c %s $$f); echo "$$f $$s bytes"; \
	  test $$s -le $(SIZE_LIMIT) || { echo "$$f is above $(SIZE_LIMIT) bytes"; exit 1; }; done

unit: ## check the systemd unit and its hardening, where systemd is
	@./scripts/unit.sh

bench: build ## print the figures of the README
	@./scripts/bench.sh

mutants: ## break one line at a time, and want a test to notice; SAMPLE=n tries n of them
	@$(GO) run ./scripts/mutate -sample $(or $(SAMPLE),0)

soak: ## kill -9 two hundred times (long)
	FLEXD_KILLS=200 $(GO) test -run 'TestKill' -count=1 -timeout 60m -v ./agent

ci: test-deps lint test unit cross ci-mutants ## what must be green before a change lands

ci-mutants:
	@$(GO) run ./scripts/mutate -sample 10

clean: ## remove what was built
	rm -rf bin dist
