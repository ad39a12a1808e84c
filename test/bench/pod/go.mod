// The cluster of the end-to-end tests, for a benchmark.
module github.com/roce-k8s/roce-k8s/test/bench/pod

go 1.26.0

require (
	github.com/roce-k8s/roce-k8s v0.0.0
	github.com/roce-k8s/roce-k8s/test/e2e v0.0.0
	golang.org/x/sys v0.48.0
)

require (
	github.com/docker/cli v29.7.2+incompatible // indirect
	github.com/docker/docker-credential-helpers v0.9.3 // indirect
	github.com/google/go-containerregistry v0.22.1 // indirect
	github.com/klauspost/compress v1.19.2 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	github.com/sirupsen/logrus v1.9.4 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/sync v0.22.0 // indirect
)

replace (
	github.com/roce-k8s/roce-k8s => ../../..
	github.com/roce-k8s/roce-k8s/test/e2e => ../../e2e
)
