// Package fabric tests the way between nodes: every NIC against the NICs of the
// same rail on all other nodes, by perftest, in an order in which no NIC is in two
// tests at once.
//
// One node coordinates; the others connect to it, are told what to run, and tell
// what came of it. It knows NICs by their rails and perftest by its options and
// its JSON. It must not know how a NIC came to be where it is, nor what starts
// the nodes: no Kubernetes, no CNI.
package fabric
