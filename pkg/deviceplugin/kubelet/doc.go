// Package kubelet keeps an extended resource registered with the kubelet
// through the device plugin API, v1beta1: it watches the kubelet's folder,
// serves each registration on a socket of its own, and starts over whenever
// the kubelet or the stream to it goes away.
//
// It knows the kubelet's ways. It must not know what a device is.
package kubelet
