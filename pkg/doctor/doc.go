// Package doctor looks at a node for what costs its RoCE pods bandwidth, or
// keeps them from starting, and says what each finding costs and what mends it.
//
// It knows how a node should be, by a table of checks. It only reads, below roots
// that its caller names, and asks netlink through functions that its caller
// gives. It must not set anything, and it must not know the kubelet's protocol,
// the cluster's API or the device plugin's configuration.
package doctor
