package scenario

import "testing"

// Run runs all tests with one version's device manager.
func Run(t *testing.T, k Kubelet) {
	for _, s := range []struct {
		name string
		test func(*testing.T, Kubelet)
	}{
		{"a pool gives one unit and then all the others and no more", poolGivesItsUnits},
		{"in mode perDevice a pod gets the NICs of its units alone", perDeviceGivesItsNIC},
		{"a NIC is near its GPU if the kubelet's policy says so", alignedWithGPU},
		{"a pod that no NUMA node can serve is refused by some policies", tooManyForOneNode},
		{"a GPU in another container is near with the scope pod only", alignedAcrossContainers},
		{"a pool has no place and is in no policy's way", poolHasNoPlace},
		{"two resources with one name and two prefixes are two", onePoolForEachPrefix},
		{"a pool is unhealthy only when none of its NICs works and comes back", poolHealth},
		{"in mode perDevice each NIC has its own health", perDeviceHealth},
		{"a pod's status says how each of its NICs is", healthInStatus},
		{"the plugin may come before the kubelet and its folder", pluginFirst},
		{"the resource is back after each restart of the manager", managerRestarts},
		{"the resource is back after each kill -9 of the kubelet", kubeletKilled},
		{"the resource is back after each restart of the plugin", pluginRestarts},
		{"the resource is back after each kill -9 of the plugin", pluginKilled},
		{"the resource stays when a new plugin starts before the old one ends", pluginsOverlap},
		{"a kubelet that hangs gets its resource when it goes on", kubeletHangs},
		{"the resource is back when the plugin's socket was deleted", ownSocketDeleted},
		{"the resource is back when all sockets were deleted", allSocketsDeleted},
		{"the resource is back when the folder was deleted", folderDeleted},
		{"the checkpoint of the old plugin's days is good", oldCheckpoint},
		{"a container may restart after kubelet and plugin did", containerRestarts},
		{"NICs in pods keep their units over restarts", nicsInPods},
	} {
		t.Run(s.name, func(t *testing.T) { s.test(t, k) })
	}
}
