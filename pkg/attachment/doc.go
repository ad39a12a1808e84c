// Package attachment knows which pod holds which NIC: a journal with one file
// for each attachment, written before a NIC is moved, the locks that keep two
// writers apart, and the way back to the host for a NIC whose attachment ends
// (Returner).
//
// The CNI plugin writes the journal; the device plugin reads it, so that a NIC
// in a pod still counts. The package must not know about the CNI protocol, IPAM
// or the kubelet.
package attachment
