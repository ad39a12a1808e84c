package exporter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// write puts a file into a folder and returns its path.
func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// certify makes a certificate for 127.0.0.1 that has signed itself, and its key,
// in a folder.
func certify(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	write(t, dir, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, dir, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestEachFlagSetsItsOwnField(t *testing.T) {
	var a Access
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	a.Flags(flags)
	must(t, flags.Parse([]string{"--metrics-tls-dir=/tls", "--metrics-client-ca=/ca", "--metrics-token-file=/token"}))
	if want := (Access{TLSDir: "/tls", ClientCA: "/ca", TokenFile: "/token"}); a != want {
		t.Errorf("%+v, want %+v", a, want)
	}
}

func TestNobodyIsServedWhileAFileIsMissingOrEmpty(t *testing.T) {
	dir, none := t.TempDir(), t.TempDir()
	certify(t, dir)
	empty, token := write(t, dir, "empty", " \n"), write(t, dir, "token", "secret\n")
	for _, tt := range []struct {
		access Access
		want   string // of the error, "" for none
	}{
		{Access{}, ""},
		{Access{TLSDir: dir}, ""},
		{Access{TLSDir: dir, ClientCA: filepath.Join(dir, "tls.crt"), TokenFile: token}, ""},
		{Access{TLSDir: none}, "read the metrics' certificate: "},
		{Access{TLSDir: dir, ClientCA: filepath.Join(none, "ca.crt")}, "read the authorities of the metrics' clients: "},
		{Access{TLSDir: dir, ClientCA: empty}, empty + " has no certificate"},
		{Access{TLSDir: dir, TokenFile: filepath.Join(none, "token")}, "read the metrics' token: "},
		{Access{TLSDir: dir, TokenFile: empty}, empty + " has no token"},
		{Access{TLSDir: none, TokenFile: token}, "read the metrics' certificate: "},
	} {
		l, err := listen(t.Context(), endpoint.TCP("127.0.0.1:0"), tt.access, quiet())
		if err == nil {
			l.Close()
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.access, err, tt.want)
		}
	}
}

func TestOnlyWhoSendsTheTokenIsAnswered(t *testing.T) {
	path := write(t, t.TempDir(), "token", " secret\n")
	answering := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
	get := func(a Access, authorization string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		a.guard(answering).ServeHTTP(w, r)
		return w
	}
	expect := func(a Access, authorization string, served bool) {
		t.Helper()
		w := get(a, authorization)
		if served && (w.Code != http.StatusOK || w.Body.String() != "metrics") {
			t.Errorf("%q: %d %s", authorization, w.Code, w.Body)
		}
		if !served && (w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" || strings.Contains(w.Body.String(), "metrics")) {
			t.Errorf("%q: %d %v %s", authorization, w.Code, w.Header(), w.Body)
		}
	}
	a := Access{TokenFile: path}
	expect(Access{}, "", true)
	expect(a, "Bearer secret", true)
	for _, wrong := range []string{"", "secret", "Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Bearer SECRET", "Basic secret", "Bearer Bearer secret"} {
		expect(a, wrong, false)
	}
	must(t, os.WriteFile(path, []byte("another"), 0o600)) // in force at once
	expect(a, "Bearer secret", false)
	expect(a, "Bearer another", true)
	must(t, os.WriteFile(path, nil, 0o600))
	expect(a, "Bearer ", false)
	must(t, os.Remove(path))
	expect(a, "Bearer another", false)
}

// ask sends a request to a server with TLS, with a certificate if there is one.
func ask(t *testing.T, at string, trusted tls.Certificate, most uint16, own ...tls.Certificate) error {
	t.Helper()
	leaf, err := x509.ParseCertificate(trusted.Certificate[0])
	must(t, err)
	config := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: own, MaxVersion: most}
	config.RootCAs.AddCert(leaf)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+at+"/", nil)
	must(t, err)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func TestCertificatesAreInForceAsTheFilesHaveThem(t *testing.T) {
	dir, clients, strangers := t.TempDir(), t.TempDir(), t.TempDir()
	said := make(chan string, 100)
	log := slog.New(slog.NewTextHandler(fakeWriter(func(text string) { said <- text }), nil))
	first, client, stranger := certify(t, dir), certify(t, clients), certify(t, strangers)
	open, closed := Access{TLSDir: dir}, Access{TLSDir: dir, ClientCA: filepath.Join(clients, "tls.crt")}
	start := func(a Access) string {
		l, err := listen(t.Context(), endpoint.TCP("127.0.0.1:0"), a, log)
		must(t, err)
		server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { server.Close() })
		return l.Addr().String()
	}
	forAll, forSome := start(open), start(closed)
	expect := func(what string, err error, served bool) {
		t.Helper()
		if (err == nil) != served {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("anybody", ask(t, forAll, first, 0), true)
	expect("anybody where certificates are asked for", ask(t, forSome, first, 0), false)
	expect("a client", ask(t, forSome, first, 0, client), true)
	expect("a stranger", ask(t, forSome, first, 0, stranger), false)
	expect("an old protocol", ask(t, forAll, first, tls.VersionTLS12), false)
	second := certify(t, dir)
	expect("who knows the old certificate", ask(t, forAll, first, 0), false)
	expect("who knows the new one", ask(t, forAll, second, 0), true)
	must(t, os.Rename(filepath.Join(strangers, "tls.crt"), filepath.Join(clients, "tls.crt")))
	expect("the client of before", ask(t, forSome, second, 0, client), false)
	expect("the new client", ask(t, forSome, second, 0, stranger), true)
	if len(said) > 0 {
		t.Errorf("what clients do wrong is said: %s", <-said)
	}
	key := filepath.Join(dir, "tls.key")
	for _, again := range []string{"", " again"} { // each time is said once
		must(t, os.Rename(key, key+".away"))
		for range 3 {
			expect("anybody without a key"+again, ask(t, forAll, second, 0), false)
		}
		must(t, os.Rename(key+".away", key))
		expect("anybody with the key"+again, ask(t, forAll, second, 0), true)
		if text := <-said; len(said) > 0 || !strings.Contains(text, `level=WARN msg="clients of the metrics are turned away" err="read the metrics' certificate: `) {
			t.Errorf("%d more than %s", len(said), text)
		}
	}
}

// get asks a socket until it is answered, and returns the body.
func get(t *testing.T, socket, path string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		response, err := endpoint.Unix(socket).Ask(t.Context(), http.MethodGet, path, nil)
		if err == nil {
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			must(t, err)
			return string(body)
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestASocketIsServedInPlaceOfAnEarlierOneUntilTheProgramEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "probe.sock")
	earlier, err := net.Listen("unix", socket)
	must(t, err)
	earlier.(*net.UnixListener).SetUnlinkOnClose(false) // it was killed
	earlier.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Serve(ctx, endpoint.Unix(socket), Access{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }), quiet())
	}()
	if got := get(t, socket, "livez"); got != "/livez" {
		t.Error(got)
	}
	cancel()
	<-ended
	if response, err := endpoint.Unix(socket).Ask(t.Context(), http.MethodGet, "livez", nil); err == nil {
		response.Body.Close()
		t.Error("it is still served")
	}
}

// Another instance on the node may be about to end, and a Secret to be mounted.
func TestWhatCannotBeServedYetIsServedLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, token := filepath.Join(dir, "s"), filepath.Join(dir, "token")
	said := make(chan struct{}, 100)
	log := slog.New(slog.NewTextHandler(fakeWriter(func(text string) {
		if strings.Contains(text, "cannot serve metrics and probes yet") {
			said <- struct{}{}
		}
	}), nil))
	go Serve(t.Context(), endpoint.Unix(socket), Access{TokenFile: token}, http.NotFoundHandler(), log)
	<-said
	must(t, os.WriteFile(token, []byte("secret"), 0o600))
	if got := get(t, socket, ""); !strings.Contains(got, "bearer token") {
		t.Error(got)
	}
}

// Where another instance has the address for good, once is enough.
func TestAnAddressThatIsNotToBeHadIsTriedAgainAndSaidOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		ctx, stop := context.WithTimeout(t.Context(), 3*listenAgain+time.Second)
		defer stop()
		begin := time.Now() // of the test's own clock
		at := endpoint.Unix(filepath.Join(dir, "none", "s"))
		Serve(ctx, at, Access{}, http.NotFoundHandler(), slog.New(slog.NewTextHandler(&log, nil)))
		if said := log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, `level=WARN msg="cannot serve metrics and probes yet" address=`+at.Address+" again=5s err=") {
			t.Error(said)
		}
		if took := time.Since(begin); took != 3*listenAgain+time.Second {
			t.Errorf("it ended after %s", took)
		}
	})
}

type fakeWriter func(text string)

func (f fakeWriter) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

func TestAProgramTakesSoManyConnectionsAtOnceAndNoMore(t *testing.T) {
	l, err := listen(t.Context(), endpoint.TCP("127.0.0.1:0"), Access{}, quiet())
	must(t, err)
	for range MostConnections + 2 { // the kernel takes them for the program
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		must(t, err)
		defer c.Close()
	}
	var last net.Conn
	for range MostConnections {
		last, err = l.Accept()
		must(t, err)
		defer last.Close()
	}
	must(t, last.Close())
	again, err := l.Accept() // in its place
	must(t, err)
	defer again.Close()
	defer time.AfterFunc(50*time.Millisecond, func() { l.Close() }).Stop()
	if c, err := l.Accept(); err == nil {
		c.Close()
		t.Errorf("more than %d", MostConnections)
	}
}

func TestAServerBoundsWhatAClientMayTakeAndIsQuietAboutIt(t *testing.T) {
	var log strings.Builder
	s := newServer(http.NotFoundHandler(), slog.New(slog.NewTextHandler(&log, nil)))
	if s.ReadTimeout != longestRequest || s.WriteTimeout != longestAnswer || s.IdleTimeout != longestIdle || s.MaxHeaderBytes != longestHeader {
		t.Errorf("%+v", s)
	}
	if s.ErrorLog.Print("http: TLS handshake error"); log.Len() > 0 {
		t.Error(log.String())
	}
}

func TestAClientThatDoesNotEndItsRequestLosesItsConnection(t *testing.T) {
	t.Parallel() // it waits for longestRequest
	at := endpoint.Unix(filepath.Join(t.TempDir(), "s"))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { Serve(ctx, at, Access{}, http.NotFoundHandler(), quiet()) })
	defer running.Wait()
	defer stop()
	get(t, at.Address, "metrics")
	conn, err := (&net.Dialer{}).DialContext(ctx, at.Network, at.Address)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: node\r\nX-Endless: ")
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the server still waits: %v", err)
	}
}
