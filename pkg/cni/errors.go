package cni

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/terminal"
)

// Error codes of this plugin, beside those of the CNI specification (1 to 50
// and 51). README.md has them in a table with what to do.
const (
	codeNICNotFound uint = 100 + iota // no such NIC on the host
	codeNICHeld                       // another pod has it
	codeNameTaken                     // the pod has an interface of that name
	codeNoRDMA                        // the NIC has no RDMA device
	codeRDMAMode                      // the node is in the wrong RDMA mode
	codeMove                          // the netdev could not be moved
	codeMoveRDMA                      // the RDMA device could not be moved
	codeJournal                       // the journal could not be written or read
	codeIPAM                          // the IPAM plugin failed
	codeConfigure                     // addresses or routes could not be set
	codeReturn                        // the NIC could not be given back
	codeCheck                         // CHECK found a difference
	codeGuard                         // the host needs the NIC
	codeGateway                       // the address is the gateway's

	codeNotAvailable uint = 50 // STATUS: cannot serve an ADD now
	codeLimited      uint = 51 // STATUS: the pods that have it are affected, too
)

// fail makes the one error that the runtime, and in the end the person who
// reads the pod's events, sees: which NIC, at which step, why, and what to do
// about it.
func fail(code uint, nic, step string, err error, advice string) *types.Error {
	var held *attachment.HeldError
	if errors.As(err, &held) { // it says what is held, and by whom
		nic, step, err = "", held.Error(), nil
		code, advice = types.ErrTryAgainLater, "try again"
	}
	var parts []string
	for _, part := range []string{nic, step} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if err != nil {
		parts = append(parts, err.Error())
	}
	return types.NewError(code, oneLine(strings.Join(parts, ": ")), oneLine(advice))
}

// longestLine is in bytes: an event of Kubernetes has room for 1024.
const longestLine = 900

// oneLine is fit for the event that a runtime makes of a message, whatever a
// network or an IPAM plugin put into it.
func oneLine(text string) string {
	if len(text) > longestLine {
		text = strings.ToValidUTF8(text[:longestLine], "") + "…"
	}
	return terminal.Plain(text)
}

// invalid is a configuration error: what the value is, what it may be.
func invalid(what, advice string, args ...any) *types.Error {
	return fail(types.ErrInvalidNetworkConfig, "", "network configuration: "+fmt.Sprintf(what, args...), nil, advice)
}
