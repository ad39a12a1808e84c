package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// slowIPAM is the name of an IPAM plugin that takes as long as one that asks
// a busy API server. It is this program under another name, and leases nothing.
const (
	slowIPAM     = "fake-ipam-100ms"
	slowIPAMTime = 100 * time.Millisecond
)

// answerSlowly is slowIPAM.
func answerSlowly(out io.Writer) error {
	if os.Getenv("CNI_COMMAND") != "ADD" {
		return nil
	}
	time.Sleep(slowIPAMTime)
	_, err := fmt.Fprintln(out, `{"cniVersion": "1.0.0", "ips": [{"address": "172.31.1.2/24"}]}`)
	return err
}
