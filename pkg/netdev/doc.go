// Package netdev knows network interfaces as pieces of hardware that travel:
// what identifies one across names and namespaces, what state the host gave
// it, and how it is moved and put back.
//
// It must not know why a netdev travels: no pods, no journal, no CNI.
package netdev
