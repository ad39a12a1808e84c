// Package discovery knows what a site has to write down for its nodes: which NICs
// are rails and in what order, and the ConfigMap, networks, chart values and pod
// that follow from them.
//
// It looks and prints, and changes nothing. It must not know how a NIC is moved or
// offered: what it prints is for the programs that do.
package discovery
