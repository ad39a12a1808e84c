// Package delegate runs a plugin that ours delegates to, such as an IPAM
// plugin, so that every call ends, whatever the plugin does: the caller's
// context bounds it, it and what it starts end with the call and with this
// process, and its output is limited.
//
// It knows processes. It must not know NICs, the journal, or what is delegated.
//
// A plugin is in a process group of its own. PR_SET_PDEATHSIG ends the plugin
// when this process dies, and a leash (see there) ends the group, which has the
// plugin's children and theirs. Both need nothing but the kernel: no watching
// process, which would take longer to start than most plugins take to answer. A
// plugin gets its configuration only once both are in place.
//
// Two things are beyond reach: what leaves the group, as a daemon does with
// setsid(2), and a child that a plugin starts without having read its
// configuration, in the moment before the leash holds. The call does not wait
// for them, but they may live on. So nothing that this process holds may be
// inherited: a lock above all must be close-on-exec, or a process that nobody
// knows of would hold it.
//
// A PID namespace would catch that child too. It was left out because the
// plugin sees the host's /proc, in which its own PIDs are those of other
// processes: as process 1 it would look for its own network namespace in
// /proc/1/task/N/ns/net, as both containernetworking's ns and vishvananda's
// netns do, and find none, or that of the host's init. As an init it would also
// ignore the signals that it has no handler for.
package delegate
