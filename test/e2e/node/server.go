package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
)

// Port is where a node answers.
const Port = 8000

// An Answer is what a script did.
type Answer struct {
	Output string // of both streams
	Status int
}

// serve answers the outside:
//
//	POST /run                 runs the script in the body with bash
//	POST /kubelet/restart     ends the kubelet in order and starts it again
//	POST /kubelet/kill        the same with SIGKILL
//	POST /containerd/restart  ends containerd, but no container, and starts it again
//	POST /containerd/kill     the same with SIGKILL
func (n *node) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) {
		cmd := exec.CommandContext(r.Context(), "bash", "-s")
		cmd.Stdin = r.Body
		out, err := cmd.CombinedOutput()
		a := Answer{Output: string(out), Status: cmd.ProcessState.ExitCode()}
		if cmd.ProcessState == nil {
			a = Answer{err.Error(), 127}
		}
		_ = json.NewEncoder(w).Encode(a)
	})
	mux.HandleFunc("POST /kubelet/{how}", func(w http.ResponseWriter, r *http.Request) {
		switch how := r.PathValue("how"); how {
		case "restart":
			n.kubelet.Stop()
		case "kill":
			n.kubelet.Kill()
		default:
			http.NotFound(w, r)
			return
		}
		if err := n.startKubelet(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("POST /containerd/{how}", func(w http.ResponseWriter, r *http.Request) {
		switch how := r.PathValue("how"); how {
		case "restart":
			n.containerd.Stop()
		case "kill":
			n.containerd.Kill()
		default:
			http.NotFound(w, r)
			return
		}
		if err := n.startContainerd(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	address, _, _ := strings.Cut(n.Address, "/")
	server := &http.Server{Addr: fmt.Sprintf("%s:%d", address, Port), Handler: mux}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
