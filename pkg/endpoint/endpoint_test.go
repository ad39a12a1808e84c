package endpoint_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
)

func TestEachQuestionHasAConnectionOfItsOwnThatEndsWithTheAnswer(t *testing.T) {
	answering := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.Close {
			t.Error("the connection is to stay open")
		}
		asked, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI()+" "+string(asked))
	})
	at, local := httptest.NewServer(answering), httptest.NewUnstartedServer(answering)
	defer at.Close()
	socket := t.TempDir() + "/a.sock"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	local.Listener.Close()
	local.Listener = l
	local.Start()
	defer local.Close()
	for _, e := range []endpoint.Endpoint{endpoint.TCP(at.Listener.Addr().String()), endpoint.Unix(socket)} {
		for path, want := range map[string]string{"run": "/run", "/run": "/run", "run?node=a": "/run?node=a", "": "/"} {
			answer, err := e.Ask(t.Context(), http.MethodPost, path, strings.NewReader("this"))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || string(text) != "POST "+want+" this" {
				t.Errorf("%s of %v: %q, %v", path, e, text, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if answer, err := endpoint.Unix(socket).Ask(ctx, http.MethodGet, "run", nil); !errors.Is(err, context.Canceled) {
		if err == nil {
			answer.Body.Close()
		}
		t.Errorf("asked though nobody waits: %v", err)
	}
}

func TestWhoDoesNotAnswerIsNamedAndNoURL(t *testing.T) {
	socket := t.TempDir() + "/none.sock"
	answer, err := endpoint.Unix(socket).Ask(t.Context(), http.MethodGet, "livez", nil)
	if err == nil {
		answer.Body.Close()
		t.Fatal("somebody answered")
	}
	if said := err.Error(); !strings.Contains(said, socket) || strings.Contains(said, "instance") {
		t.Error(said)
	}
}
