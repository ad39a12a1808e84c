package watch_test

import (
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

func TestAPokeIsThereOnceHoweverOftenItCame(t *testing.T) {
	c := make(chan struct{}, 1)
	for range 3 {
		watch.Poke(c)
	}
	<-c
	select {
	case <-c:
		t.Error("there is another one")
	default:
	}
}
