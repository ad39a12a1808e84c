// Package status knows how a node's NICs, units and programs are at the moment:
// who has what since when, what came back, what is owed.
//
// It asks the journal, the kubelet and the device plugin's own metrics, takes each
// for what it says, and says which of them did not answer. It changes nothing, and
// must not know how a NIC is moved, selected or offered.
package status
