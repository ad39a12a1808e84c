package endpoint_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
)

func TestEachQuestionHasAConnectionOfItsOwnThatEndsWithTheAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.Close {
			t.Error("the connection is to stay open")
		}
		asked, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(asked))
	}))
	defer server.Close()
	for _, path := range []string{"run", "/run"} {
		answer, err := endpoint.TCP(server.Listener.Addr().String()).Ask(t.Context(), http.MethodPost, path, strings.NewReader("this"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(text) != "POST /run this" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
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
