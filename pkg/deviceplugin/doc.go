// Package deviceplugin is the device plugin: it decides, from what the node
// has, who holds it and what the configuration asks for, which RDMA devices
// each extended resource offers to the kubelet and what a container gets.
//
// It moves nothing between namespaces and must not know the CNI plugin; of
// what that one did it reads the journal in pkg/attachment.
package deviceplugin
