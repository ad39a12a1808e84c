// Package deviceplugin is the device plugin as a program: it keeps what each
// extended resource offers to the kubelet true, follows its configuration,
// tells of it all in log and metrics, and brings a NIC back to the host that
// came there without a DEL.
//
// What the node has is pkg/inventory's to know, and what follows from it for
// the kubelet is decided in offer. It must not know the CNI plugin; of what
// that one did it reads the journal in pkg/attachment.
package deviceplugin
