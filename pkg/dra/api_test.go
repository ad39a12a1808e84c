package dra

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/utils/ptr"
)

// An api is a stand-in for the API server: what a driver asks it, over HTTP. It
// keeps objects and their versions, and tells who watches slices. It checks
// nothing else.
type api struct {
	*testing.T
	server *httptest.Server

	mu      sync.Mutex
	changed *sync.Cond
	version int
	slices  map[string]*resourceapi.ResourceSlice
	claims  map[string]*resourceapi.ResourceClaim // by namespace/name
	events  []metav1.WatchEvent
	writes  int  // of slices
	refuse  bool // answer nothing but errors
	refused int  // so many statuses of claims are not taken
}

func newAPI(t *testing.T) *api {
	a := &api{T: t, slices: map[string]*resourceapi.ResourceSlice{}, claims: map[string]*resourceapi.ResourceClaim{}}
	a.changed = sync.NewCond(&a.mu)
	a.server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() {
		a.server.CloseClientConnections()
		a.server.Close()
	})
	return a
}

func (a *api) client(wrap transport.WrapperFunc) kubernetes.Interface {
	c, err := kubernetes.NewForConfig(&rest.Config{Host: a.server.URL, QPS: -1, WrapTransport: wrap})
	if err != nil {
		a.Fatal(err)
	}
	return c
}

// published are the devices of all slices, in the slices' order.
func (a *api) published() (devices []resourceapi.Device) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.slices)) {
		devices = append(devices, a.slices[name].Spec.Devices...)
	}
	return devices
}

// owners are driver, node, pool and owner of each slice.
func (a *api) owners() (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.slices)) {
		s := a.slices[name]
		line := fmt.Sprint(s.Spec.Driver, " ", ptr.Deref(s.Spec.NodeName, ""), " ", s.Spec.Pool.Name)
		for _, o := range s.OwnerReferences {
			line += fmt.Sprint(" of ", o.Kind, " ", o.Name, " ", o.UID)
		}
		all = append(all, line)
	}
	return all
}

// count is how often a slice was written.
func (a *api) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writes
}

// wipe removes all slices, as a kubelet that starts.
func (a *api) wipe() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, s := range a.slices {
		delete(a.slices, name)
		a.tell("DELETED", s)
	}
}

func (a *api) claim(namespace, name string) resourceapi.ResourceClaim {
	a.mu.Lock()
	defer a.mu.Unlock()
	return *a.claims[namespace+"/"+name].DeepCopy()
}

func (a *api) refuseStatuses(number int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = number
}

func (a *api) add(c *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.ResourceVersion = a.next()
	a.claims[c.Namespace+"/"+c.Name] = c.DeepCopy()
	return c
}

func (a *api) next() string {
	a.version++
	return strconv.Itoa(a.version)
}

func (a *api) tell(kind string, s *resourceapi.ResourceSlice) {
	s = s.DeepCopy()
	s.ResourceVersion = a.next()
	event := metav1.WatchEvent{Type: kind}
	event.Object.Object = s
	a.events = append(a.events, event)
	a.writes++
	a.changed.Broadcast()
}

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/apis/resource.k8s.io/v1/"), "/")
	parts := strings.Split(path, "/")
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.refuse:
		a.fail(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
	case strings.HasPrefix(r.URL.Path, "/api/v1/nodes/"):
		a.answer(w, map[string]any{"kind": "Node", "apiVersion": "v1", "metadata": map[string]any{"name": "node1", "uid": "n1"}})
	case parts[0] == "namespaces":
		a.serveClaim(w, r, parts[1]+"/"+parts[3], body)
	case r.URL.Query().Get("sendInitialEvents") != "":
		a.fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid) // the client lists instead
	case r.URL.Query().Get("watch") != "":
		a.watch(w, r)
	case r.Method == http.MethodGet:
		list := resourceapi.ResourceSliceList{TypeMeta: metav1.TypeMeta{Kind: "ResourceSliceList", APIVersion: "resource.k8s.io/v1"}}
		list.ResourceVersion = strconv.Itoa(a.version)
		for _, s := range a.slices {
			list.Items = append(list.Items, *s)
		}
		a.answer(w, list)
	case r.Method == http.MethodDelete:
		if s := a.slices[parts[1]]; s != nil {
			delete(a.slices, parts[1])
			a.tell("DELETED", s)
		}
		a.answer(w, metav1.Status{Status: metav1.StatusSuccess})
	default:
		a.writeSlice(w, r.Method, body)
	}
}

// decode reads an object, which may be JSON or not.
func decode(body []byte) runtime.Object {
	object, _, _ := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	return object
}

func (a *api) writeSlice(w http.ResponseWriter, method string, body []byte) {
	s, ok := decode(body).(*resourceapi.ResourceSlice)
	if !ok {
		a.fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	kind := "MODIFIED"
	if method == http.MethodPost {
		kind = "ADDED"
		s.Name = fmt.Sprintf("%s%d", s.GenerateName, a.version)
	}
	s.TypeMeta = metav1.TypeMeta{Kind: "ResourceSlice", APIVersion: "resource.k8s.io/v1"}
	a.tell(kind, s)
	s.ResourceVersion = strconv.Itoa(a.version)
	a.slices[s.Name] = s
	a.answer(w, s)
}

func (a *api) serveClaim(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	c := a.claims[name]
	if c == nil {
		a.fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	if r.Method == http.MethodPut && a.refused > 0 {
		a.refused--
		a.fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError)
		return
	}
	if r.Method == http.MethodPut {
		update, ok := decode(body).(*resourceapi.ResourceClaim)
		if !ok || update.ResourceVersion != c.ResourceVersion || !strings.HasSuffix(r.URL.Path, "/status") {
			a.fail(w, http.StatusConflict, metav1.StatusReasonConflict)
			return
		}
		update.ResourceVersion = a.next()
		a.claims[name], c = update, update
	}
	c.TypeMeta = metav1.TypeMeta{Kind: "ResourceClaim", APIVersion: "resource.k8s.io/v1"}
	a.answer(w, c)
}

// watch tells of what comes after a version, until the client goes.
func (a *api) watch(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-r.Context().Done():
			a.changed.Broadcast()
		case <-stop:
		}
	}()
	w.Header().Set("Content-Type", "application/json")
	flusher, _ := w.(http.Flusher)
	flusher.Flush()
	for n := 0; r.Context().Err() == nil; n++ {
		for n >= len(a.events) && r.Context().Err() == nil {
			a.changed.Wait()
		}
		if r.Context().Err() != nil {
			return
		}
		event := a.events[n]
		if s, ok := event.Object.Object.(*resourceapi.ResourceSlice); ok {
			if version, _ := strconv.Atoi(s.ResourceVersion); version <= since {
				continue
			}
		}
		_ = json.NewEncoder(w).Encode(event)
		flusher.Flush()
	}
}

func (a *api) answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object)
}

func (a *api) fail(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: string(reason),
	})
}
