# make demo   the guide's story on real RDMA devices, in a virtual machine
# make test   all tests; what this machine cannot run is skipped with the reason
# Both install what they need (as root, on Debian) and cache it below .cache.

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
CACHE     := $(CURDIR)/.cache
LINT      := $(CACHE)/tools/golangci-lint
WORKFLOWS := $(CACHE)/tools/actionlint
# What the tests run: our programs, and the IPAM plugins beside them.
PROGRAMS  := bin/rdma-device-plugin bin/roce-host-device
CNI_PATH  := $(CURDIR)/bin:$(CACHE)/peers/cni

# One way to compile for programs, tests and linters alike, or a new machine
# compiles what they depend on once for each way.
export CGO_ENABLED := 0
export GOFLAGS     := -buildvcs=false -trimpath

.DEFAULT_GOAL := build
.PHONY: build demo test lint unit test-netns test-deployments test-monitoring dashboard test-lab test-fabric test-kernels test-kernels-sample test-crash test-crash-netns test-crash-lab test-hostile test-hostile-netns test-hostile-lab test-hosts test-kubelet test-mutation e2e e2e-dra e2e-runtimes guide day fuzz image release publish test-release bench-cni bench-device-plugin bench-pod bench-dra peers clean distclean FORCE

build: $(PROGRAMS)

# Always run: the go command knows best what has changed. Two tags leave out
# what the device plugin does not need, more than a quarter of its size: gRPC's
# HTTP debug page, and HTTP/2 for the metrics.
bin/%: FORCE
	@go build -tags grpcnotrace,nethttpomithttp2 -ldflags "-s -w -X main.buildVersion=$(VERSION)" -o $@ ./cmd/$*

demo:
	@test/demo/run

test: lint unit test-netns test-deployments test-monitoring test-lab

lint: $(LINT) $(WORKFLOWS)
	@unformatted=$$(gofmt -l cmd pkg test images release); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	go vet ./...
	$(LINT) run ./...
	@for module in test/e2e test/bench/pod test/deployments test/monitoring images/oci release; do (cd $$module && $(LINT) run ./...) || exit; done
	$(WORKFLOWS) -shellcheck= -pyflakes=

# Each linter is pinned by a module of its own, whose go.mod and go.sum keep the
# binary in step with it.
build-linter = echo "building $(@F) (once)" && mkdir -p $(@D) && cd $(1) && \
	go build -ldflags "-s -w" -o $@.new $(2) && mv $@.new $@

$(LINT): test/lint/go.mod test/lint/go.sum
	@$(call build-linter,test/lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

$(WORKFLOWS): test/lint/workflows/go.mod test/lint/workflows/go.sum
	@$(call build-linter,test/lint/workflows,github.com/rhysd/actionlint/cmd/actionlint)

unit: peers
	CGO_ENABLED=1 ROCE_PEERS_DIR=$(CACHE)/peers test/report go test -v -race ./cmd/... ./pkg/... ./images/... ./test/standin/... ./test/fixtures/... ./test/papers/... ./test/mutation/...

test-netns: build peers
	ROCE_CNI_PATH=$(CNI_PATH) test/report go test -v -count=1 ./test/cni/...

# Go cannot see the files outside the tests' module; their sum makes it run the
# tests again when one has changed, and only then.
test-deployments: build bin/rdma-dra-driver
	@cd test/deployments && go vet ./... && ROCE_PROGRAMS=$(CURDIR)/bin \
		ROCE_DEPLOYMENTS_SUM="$$(find ../../deployments ../../pkg/discovery/testdata ../../bin/rdma-device-plugin ../../bin/roce-host-device ../../bin/rdma-dra-driver -type f -exec sha256sum {} + | sort | sha256sum)" \
		go test ./...

# The alerts by promtool, of Debian's package; what they and the dashboard ask for.
test-monitoring: build bin/rdma-dra-driver
	@prometheus=$$(test/monitoring/setup prometheus) && cd test/monitoring && go vet ./... && \
		ROCE_PROMTOOL=$$prometheus/promtool ROCE_PROGRAMS=$(CURDIR)/bin go test -count=1 ./...

# A real Prometheus asks the device plugin in the lab what the dashboard shows;
# writes docs/dashboard.png.
dashboard: build peers
	@test/monitoring/run

test-lab: build peers
	@test/lab-tests $(CNI_PATH) all

# Two wired machines test each other's rails, healthy, cut and with a small MTU, and a
# browser shows what they found; ROCE_PICTURE=docs/fabric-test.png draws it.
test-fabric:
	@test/fabric/run

# On Debian's kernels from 5.10 on; see docs/compatibility-kernels.md, which it checks. The
# sample is three minutes on the oldest.
test-kernels: build peers
	@test/kernels $(CNI_PATH)

test-kernels-sample: build peers
	@test/kernels $(CNI_PATH) sample

# Kills the CNI plugin at every system call that changes something.
test-crash: test-crash-netns test-crash-lab

test-crash-netns: build peers
	REPORT='tried|rounds|at once' ROCE_CNI_PATH=$(CNI_PATH) test/report go test -v -count=1 -timeout 40m ./test/crash/...

test-crash-lab: build peers
	@REPORT='tried|rounds|at once' test/lab-tests $(CNI_PATH) crash

# Has pods, networks and other plugins do their worst. ROCE_STORM_OPERATIONS and
# ROCE_STORM_SEED make another storm, ROCE_LAB_SAMPLE=yes halves the time in the
# lab, and takes a third off that of test-lab and of test-crash-lab.
test-hostile: test-hostile-netns test-hostile-lab

test-hostile-netns: build peers
	REPORT=storm: ROCE_CNI_PATH=$(CNI_PATH) test/report go test -v -count=1 -timeout 30m ./test/hostile/...

test-hostile-lab: build peers
	@test/lab-tests $(CNI_PATH) hostile

# On Debian hosts with each network manager; writes docs/compatibility-hosts.md.
test-hosts: build peers
	@test/hosts/run

# Against the device managers of the real kubelet; compiles Kubernetes once.
test-kubelet: build
	@ROCE_PROGRAMS=$(CURDIR)/bin test/kubelet/run

# Makes one mistake at a time in the code, and tells which of them no test notices.
# MUTATIONS names some: a list in test/mutation, or a pattern.
test-mutation: peers
	@go run ./test/mutation '$(MUTATIONS)'

# On a real Kubernetes, with nodes made of namespaces; compiles it once.
e2e:
	@test/e2e/run

# All of the DRA driver's scenarios, of which `make e2e` has some.
e2e-dra:
	@ROCE_E2E_SCENARIOS=dra test/e2e/run

# With other versions of containerd and Multus, and a thick one; prints a table.
# Half an hour.
e2e-runtimes:
	@test/e2e/runtimes

# The operator's guide on a real Kubernetes, with nodes in the lab; writes
# docs/guide-replay-*.md.
guide:
	@test/e2e/guide/run

# From nodes with nothing prepared to a tested fabric; it writes docs/day.md.
day: build
	@test/e2e/guide/run day

# For so long each.
FUZZ_TIME ?= 30s
fuzz:
	@test/fuzz $(FUZZ_TIME)

# bin/roce-k8s-image.tar, bin/roce-k8s-dra-image.tar and bin/rdma-tools-image.tar, for amd64 and arm64, without
# Docker.
image:
	@VERSION='$(VERSION)' images/build
	@VERSION='$(VERSION)' images/build dra
	@VERSION='$(VERSION)' images/rdma-tools/build
	@cd images/oci && go vet ./... && go test ./...

# Everything that a release has, in bin/release; the same commit gives the same bytes:
#   make release VERSION=1.2.0
#   make publish REGISTRY=ghcr.io/roce-k8s KEY=cosign.key
# docs/releasing.md has what comes before and after.
release:
	@release/build $(VERSION)

publish:
	@release/publish '$(REGISTRY)' '$(KEY)'

test-release:
	@release/test

# All need an idle machine, and write docs/benchmarks.md.
bench-cni: build
	@test/bench/cni/run

bench-device-plugin: build peers
	@test/bench/deviceplugin/run

# On the cluster of `make e2e`; twenty minutes.
bench-pod:
	@test/bench/pod/run

# The DRA driver against DRANET, which is built once, on the same cluster.
bench-dra:
	@test/bench/pod/dra/run

peers:
	@test/peers/build plugins whereabouts >/dev/null
	@ln -sfn "$$(basename $(CACHE)/peers/plugins@*)" $(CACHE)/peers/cni

clean:
	rm -rf bin

distclean: clean
	rm -rf $(CACHE)

FORCE:
