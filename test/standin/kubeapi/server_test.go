package kubeapi

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"testing"
)

const pools = "/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/kube-system/ippools"

func TestRequestsAreAnsweredAsARealServerAnswersThem(t *testing.T) {
	jsonPatch, merge := "application/json-patch+json", "application/merge-patch+json"
	for _, test := range []struct {
		behaviour, method, path, contentType, body string
		code                                       int
		contains                                   string
	}{
		{"an object that is not there is not found", "GET", pools + "/other", "", "", 404, `"reason":"NotFound"`},
		{"a resource that is not served is not found", "GET", "/apis/example.com/v1/things", "", "", 404, `"reason":"NotFound"`},
		{"a name that is taken is refused", "POST", pools, "", `{"metadata":{"name":"pool"}}`, 409, `"reason":"AlreadyExists"`},
		{"an object without a name is refused", "POST", pools, "", `{"metadata":{}}`, 422, `"reason":"Invalid"`},
		{"something else than JSON is refused", "POST", pools, "", `name: pool`, 400, `"reason":"BadRequest"`},
		{"a new object gets a version", "POST", pools, "", `{"metadata":{"name":"new"}}`, 201, `"resourceVersion":"2"`},
		{"a new object gets its namespace and kind", "POST", pools, "", `{"metadata":{"name":"new"}}`, 201, `"kind":"IPPool","metadata":{"creationTimestamp":`},
		{"an object is got with what it was given", "GET", pools + "/pool", "", "", 200, `"range":"172.31.1.0/24"`},
		{"a list has the kind and the objects", "GET", pools, "", "", 200, `"kind":"IPPoolList"`},
		{"a list of all namespaces has the objects", "GET", "/apis/whereabouts.cni.cncf.io/v1alpha1/ippools", "", "", 200, `"name":"pool"`},
		{"a list of another namespace is empty", "GET", strings.Replace(pools, "kube-system", "default", 1), "", "", 200, `"items":[]`},
		{"an update of the current version is stored", "PUT", pools + "/pool", "", `{"metadata":{"resourceVersion":"1"},"spec":{"n":1}}`, 200, `"resourceVersion":"2"`},
		{"an update without a version is stored", "PUT", pools + "/pool", "", `{"spec":{"n":1}}`, 200, `"n":1`},
		{"an update of an old version is refused", "PUT", pools + "/pool", "", `{"metadata":{"resourceVersion":"0"}}`, 409, `"reason":"Conflict"`},
		{"an update of what is not there is not found", "PUT", pools + "/other", "", `{}`, 404, `"reason":"NotFound"`},
		{"a JSON patch adds a member", "PATCH", pools + "/pool", jsonPatch,
			`[{"op":"test","path":"/metadata/resourceVersion","value":"1"},{"op":"test","path":"/spec/allocations/1","value":null},{"op":"add","path":"/spec/allocations/1","value":{"id":"a"}}]`, 200, `"1":{"id":"a"}`},
		{"a JSON patch whose test fails is invalid", "PATCH", pools + "/pool", jsonPatch,
			`[{"op":"test","path":"/metadata/resourceVersion","value":"7"}]`, 422, `"reason":"Invalid"`},
		{"a JSON patch finds a name with a slash", "PATCH", pools + "/pool", jsonPatch, `[{"op":"add","path":"/spec/a~1b~0","value":2}]`, 200, `"a/b~":2`},
		{"a JSON patch cannot remove what is not there", "PATCH", pools + "/pool", jsonPatch, `[{"op":"remove","path":"/spec/allocations/1"}]`, 422, `"reason":"Invalid"`},
		{"a merge patch replaces and removes members", "PATCH", pools + "/pool", merge, `{"spec":{"range":null,"deep":{"er":1}}}`, 200, `"spec":{"allocations":{},"deep":{"er":1}}`},
		{"a merge patch of an old version is refused", "PATCH", pools + "/pool", merge, `{"metadata":{"resourceVersion":"0"}}`, 409, `"reason":"Conflict"`},
		{"a patch of another type is refused", "PATCH", pools + "/pool", "application/apply-patch+yaml", `{}`, 415, `"reason":"UnsupportedMediaType"`},
		{"an object is deleted", "DELETE", pools + "/pool", "", "", 200, `"status":"Success"`},
		{"what is not there cannot be deleted", "DELETE", pools + "/other", "", "", 404, `"reason":"NotFound"`},
		{"a watch is refused", "GET", pools + "?watch=true", "", "", 405, `"reason":"MethodNotAllowed"`},
		{"the server says that it is ready", "GET", "/readyz", "", "", 200, "ok"},
	} {
		t.Run(test.behaviour, func(t *testing.T) {
			server := start(t)
			send(t, server, "POST", pools, "", `{"metadata":{"name":"pool"},"spec":{"range":"172.31.1.0/24","allocations":{}}}`)
			code, body := send(t, server, test.method, test.path, test.contentType, test.body)
			if code != test.code || !strings.Contains(body, test.contains) {
				t.Errorf("%s %s: got %d %s; want %d and %s", test.method, test.path, code, body, test.code, test.contains)
			}
		})
	}
}

func TestADeletedObjectIsGoneAndItsNameIsFree(t *testing.T) {
	server := start(t)
	send(t, server, "POST", pools, "", `{"metadata":{"name":"pool"}}`)
	send(t, server, "DELETE", pools+"/pool", "", "")
	if left := server.List("ippools"); len(left) != 0 {
		t.Errorf("left after the deletion: %s", left)
	}
	if code, body := send(t, server, "POST", pools, "", `{"metadata":{"name":"pool"}}`); code != http.StatusCreated {
		t.Errorf("creating it again: %d %s", code, body)
	}
}

func TestAnAddressThatIsNotLoopbackIsRefused(t *testing.T) {
	if server, err := Start("0.0.0.0:0", slog.New(slog.DiscardHandler)); err == nil {
		server.Close()
		t.Error("served without authentication on every address of the machine")
	}
}

func start(t *testing.T) *Server {
	t.Helper()
	server, err := Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func send(t *testing.T, server *Server, method, at, contentType, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL()+at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if path.Base(at) != "readyz" && !json.Valid(answer) {
		t.Errorf("%s %s: not JSON: %s", method, at, answer)
	}
	return response.StatusCode, string(answer)
}
