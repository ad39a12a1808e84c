package dra

import (
	"maps"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

const page = "../../docs/dra.md"

func TestTheDocumentHasEveryAttributeAndNoOther(t *testing.T) {
	n := newTestNode(t)
	for _, h := range n.guide.Rails {
		n.Must(n.SetCounter(h, "rate", "400 Gb/sec (4X NDR)"))
	}
	n.start()
	n.Until("eight devices", func() bool { return len(n.published()) == 8 })
	got := slices.Sorted(maps.Keys(text(n.published()[n.rails(0)[0]])))
	document.Compare(t, page, document.FirstWords(t, page, "| attribute | type | |"), got)
}

func TestTheDocumentHasEveryTaintAndNoOther(t *testing.T) {
	document.Compare(t, page, document.FirstWords(t, page, "| taint, `NoSchedule` | when |"), []string{taintUnusable, taintLink, taintTaken})
}
