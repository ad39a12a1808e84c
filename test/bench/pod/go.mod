// The cluster of the end-to-end tests, for a benchmark.
module github.com/roce-k8s/roce-k8s/test/bench/pod

go 1.26.0

require (
	github.com/roce-k8s/roce-k8s v0.0.0
	github.com/roce-k8s/roce-k8s/test/e2e v0.0.0
	golang.org/x/sys v0.48.0
)

require (
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
)

replace (
	github.com/roce-k8s/roce-k8s => ../../..
	github.com/roce-k8s/roce-k8s/test/e2e => ../../e2e
)
