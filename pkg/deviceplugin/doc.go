// Package deviceplugin is the device plugin as a program: it keeps what each
// extended resource offers to the kubelet true, follows its configuration,
// reports on it all in log and metrics, and restores a NIC that came back to
// the host without a DEL.
//
// What the node has is pkg/inventory's to know, and what follows from it for
// the kubelet is decided in offer. It must not know the CNI plugin; what that
// one did it reads from the journal in pkg/attachment.
package deviceplugin
