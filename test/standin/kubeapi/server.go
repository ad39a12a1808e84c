// Package kubeapi is a stand-in for the Kubernetes API server, in memory, for one client: the real Whereabouts
// 0.8.0 IPAM plugin. A demonstration in a virtual machine under software emulation has two minutes; etcd and a
// real API server would take them all. Where there is time for the real one, use the real one.
//
// It keeps what Whereabouts relies on: namespaced objects with a resourceVersion that moves with every write,
// 409 for a write that is based on an old version or a name that is taken, 422 for a JSON patch whose test
// fails, 404 for what is not there, and Status bodies that client-go turns into its own errors.
//
// It does not have authentication, TLS, watches, admission, defaults, validation against a schema, field
// pruning, server-side apply, sub-resources, finalizers, garbage collection, or namespaces as objects. Nothing
// that was shown with it says anything about the load that a real API server bears.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxBody is the limit that a real API server sets to a request's body.
const maxBody = 3 << 20

// Server holds objects and serves them over plain HTTP.
type Server struct {
	log  *slog.Logger
	http *http.Server
	url  string
	done chan struct{} // closed when the HTTP server has ended

	mu      sync.Mutex
	objects map[key]object
	version uint64 // the last resourceVersion that was given out
}

// key is where an object is.
type key struct{ resource, namespace, name string }

// object is an object's JSON as it is served. It is never changed once it is stored.
type object json.RawMessage

// kind is what a resource's objects and lists say that they are.
type kind struct{ apiVersion, kind string }

// kinds are the resources that are served, by the path that comes before "namespaces". A path that is not among
// them gets the same answer as from a cluster where the CRDs are missing.
func kinds(path string) (kind, bool) {
	k, ok := map[string]kind{
		"api/v1/pods":                                                          {"v1", "Pod"},
		"apis/coordination.k8s.io/v1/leases":                                   {"coordination.k8s.io/v1", "Lease"},
		"apis/whereabouts.cni.cncf.io/v1alpha1/ippools":                        {"whereabouts.cni.cncf.io/v1alpha1", "IPPool"},
		"apis/whereabouts.cni.cncf.io/v1alpha1/overlappingrangeipreservations": {"whereabouts.cni.cncf.io/v1alpha1", "OverlappingRangeIPReservation"},
	}[path]
	return k, ok
}

// Start serves on a TCP address, which must be a loopback one since there is no authentication. Port 0 takes a
// free one.
func Start(address string, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("stand-in API server: %w", err)
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		listener.Close()
		return nil, fmt.Errorf("stand-in API server: %s is not a loopback address", address)
	}
	s := &Server{
		log:     log,
		url:     "http://" + listener.Addr().String(),
		done:    make(chan struct{}),
		objects: map[key]object{},
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("stand-in API server ended", "error", err)
		}
	}()
	return s, nil
}

// URL is the server's address as a kubeconfig wants it.
func (s *Server) URL() string { return s.url }

// Close ends the server once the requests that it is serving are answered, or in two seconds.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}

// List gives the objects of a resource ("ippools"), of all namespaces, sorted by namespace and name.
func (s *Server) List(resource string) []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []json.RawMessage{}
	for _, at := range s.keys() {
		if at.resource == resource || strings.HasSuffix(at.resource, "/"+resource) {
			items = append(items, json.RawMessage(s.objects[at]))
		}
	}
	return items
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	code, body := http.StatusOK, []byte(nil)
	answer, err := s.serve(r)
	switch {
	case err != nil:
		refusal := &apiError{}
		if !errors.As(err, &refusal) {
			refusal = refuse(http.StatusInternalServerError, "InternalError", "%v", err)
		}
		code, body = refusal.code, refusal.status()
	case r.Method == http.MethodPost:
		code, body = http.StatusCreated, answer
	default:
		body = answer
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(body); err != nil {
		s.log.Debug("answer not delivered", "path", r.URL.Path, "error", err)
	}
	s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "code", code, "took", time.Since(start))
}

// serve finds what a request is about and does it.
func (s *Server) serve(r *http.Request) ([]byte, error) {
	switch path := strings.Trim(r.URL.Path, "/"); path {
	case "healthz", "livez", "readyz":
		return []byte("ok"), nil
	case "version":
		return []byte(`{"major":"1","minor":"0","gitVersion":"v1.0.0-standin"}`), nil
	}
	at, of, err := locate(r.URL.Path)
	if err != nil {
		return nil, err
	}
	if watch := r.URL.Query().Get("watch"); watch == "true" || watch == "1" {
		return nil, refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "the stand-in has no watches")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "reading the body: %v", err)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && at.name == "":
		return s.list(at, of)
	case r.Method == http.MethodGet:
		return s.get(at)
	case r.Method == http.MethodPost && at.name == "" && at.namespace != "":
		return s.create(at, of, body)
	case r.Method == http.MethodPut && at.name != "":
		return s.update(at, of, body)
	case r.Method == http.MethodPatch && at.name != "":
		return s.patch(at, of, r.Header.Get("Content-Type"), body)
	case r.Method == http.MethodDelete && at.name != "":
		return s.delete(at)
	}
	return nil, refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "the stand-in has no %s %s", r.Method, r.URL.Path)
}

// locate reads PREFIX/namespaces/NAMESPACE/RESOURCE[/NAME] and, for lists of all namespaces, PREFIX/RESOURCE.
func locate(path string) (key, kind, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var at key
	if i := slices.Index(parts, "namespaces"); i >= 0 && len(parts) >= i+3 && len(parts) <= i+4 {
		at.namespace = parts[i+1]
		if len(parts) == i+4 {
			at.name = parts[i+3]
		}
		parts = append(slices.Clone(parts[:i]), parts[i+2])
	}
	at.resource = strings.Join(parts, "/")
	of, ok := kinds(at.resource)
	if !ok {
		return key{}, kind{}, refuse(http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
	return at, of, nil
}

func (s *Server) get(at key) ([]byte, error) {
	found, ok := s.objects[at]
	if !ok {
		return nil, notFound(at)
	}
	return found, nil
}

func (s *Server) list(at key, of kind) ([]byte, error) {
	items := []json.RawMessage{}
	for _, k := range s.keys() {
		if k.resource == at.resource && (at.namespace == "" || k.namespace == at.namespace) {
			items = append(items, json.RawMessage(s.objects[k]))
		}
	}
	return json.Marshal(map[string]any{
		"apiVersion": of.apiVersion,
		"kind":       of.kind + "List",
		"metadata":   map[string]any{"resourceVersion": strconv.FormatUint(s.version, 10)},
		"items":      items,
	})
}

func (s *Server) create(at key, of kind, body []byte) ([]byte, error) {
	content, err := decode(body)
	if err != nil {
		return nil, err
	}
	meta := metadata(content)
	at.name, _ = meta["name"].(string)
	if at.name == "" {
		return nil, refuse(http.StatusUnprocessableEntity, "Invalid", "metadata.name is required")
	}
	if _, taken := s.objects[at]; taken {
		return nil, refuse(http.StatusConflict, "AlreadyExists", "%s %q already exists", at.plural(), at.name)
	}
	meta["uid"] = newUID()
	meta["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	return s.store(at, of, content)
}

func (s *Server) update(at key, of kind, body []byte) ([]byte, error) {
	content, err := decode(body)
	if err != nil {
		return nil, err
	}
	return s.replace(at, of, content)
}

func (s *Server) patch(at key, of kind, contentType string, body []byte) ([]byte, error) {
	found, err := s.get(at)
	if err != nil {
		return nil, err
	}
	content, err := decode(found)
	if err != nil {
		return nil, err
	}
	switch contentType {
	case "application/json-patch+json":
		err = jsonPatch(content, body)
	case "application/merge-patch+json":
		err = mergePatch(content, body)
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the stand-in has no %s", contentType)
	}
	if err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, "Invalid", "patching %s %q: %v", at.plural(), at.name, err)
	}
	return s.replace(at, of, content)
}

// replace stores the new content of an object that is there, unless it is based on an older version.
func (s *Server) replace(at key, of kind, content map[string]any) ([]byte, error) {
	found, err := s.get(at)
	if err != nil {
		return nil, err
	}
	old, err := decode(found)
	if err != nil {
		return nil, err
	}
	was, is := metadata(old), metadata(content)
	if v, _ := is["resourceVersion"].(string); v != "" && v != was["resourceVersion"] {
		return nil, refuse(http.StatusConflict, "Conflict",
			"Operation cannot be fulfilled on %s %q: the object has been modified; please apply your changes to the latest version and try again", at.plural(), at.name)
	}
	if name, _ := is["name"].(string); name != "" && name != at.name {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "the name of the object (%s) is not that of the URL (%s)", name, at.name)
	}
	is["uid"], is["creationTimestamp"] = was["uid"], was["creationTimestamp"]
	return s.store(at, of, content)
}

func (s *Server) delete(at key) ([]byte, error) {
	if _, err := s.get(at); err != nil {
		return nil, err
	}
	s.version++
	delete(s.objects, at)
	return []byte(`{"apiVersion":"v1","kind":"Status","metadata":{},"status":"Success"}`), nil
}

// store gives content its place and a new version.
func (s *Server) store(at key, of kind, content map[string]any) ([]byte, error) {
	s.version++
	meta := metadata(content)
	meta["name"], meta["namespace"] = at.name, at.namespace
	meta["resourceVersion"] = strconv.FormatUint(s.version, 10)
	content["apiVersion"], content["kind"] = of.apiVersion, of.kind
	stored, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %q: %w", at.plural(), at.name, err)
	}
	s.objects[at] = stored
	return stored, nil
}

// keys are those of all objects, in an order that does not change from call to call.
func (s *Server) keys() []key {
	return slices.SortedFunc(maps.Keys(s.objects), func(a, b key) int {
		return strings.Compare(a.resource+"/"+a.namespace+"/"+a.name, b.resource+"/"+b.namespace+"/"+b.name)
	})
}

// plural is the resource's name without group and version.
func (k key) plural() string { return k.resource[strings.LastIndex(k.resource, "/")+1:] }

// decode reads an object and keeps its numbers as they are written.
func decode(body []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var content map[string]any
	if err := decoder.Decode(&content); err != nil {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "the body is not a JSON object: %v", err)
	}
	if content == nil {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "the body is null")
	}
	return content, nil
}

// metadata is the object's own, made when it has none.
func metadata(content map[string]any) map[string]any {
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		content["metadata"] = meta
	}
	return meta
}

// newUID is a random UUID: Whereabouts does not read it, people who look at the objects expect it.
func newUID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// apiError is a refusal that the client gets as a Status object.
type apiError struct {
	code            int
	reason, message string
}

func (e *apiError) Error() string { return e.message }

func (e *apiError) status() []byte {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Status", "metadata": map[string]any{},
		"status": "Failure", "code": e.code, "reason": e.reason, "message": e.message,
	})
	if err != nil { // strings and a number always encode
		return nil
	}
	return body
}

func refuse(code int, reason, format string, args ...any) *apiError {
	return &apiError{code: code, reason: reason, message: fmt.Sprintf(format, args...)}
}

func notFound(at key) *apiError {
	return refuse(http.StatusNotFound, "NotFound", "%s %q not found", at.plural(), at.name)
}
