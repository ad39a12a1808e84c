package scenario

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// childVariable makes the test program a kubelet.
const childVariable = "ROCE_TEST_AS_KUBELET"

// Main is for TestMain. A kubelet that is killed without a chance to clean up
// needs a process of its own: it is this same program.
func Main(m *testing.M, k Kubelet) int {
	if os.Getenv(childVariable) == "" {
		return m.Run()
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Kubelet", &service{kubelet: k}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	server.ServeCodec(jsonrpc.NewServerCodec(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})) // ends with the test that started us
	return 0
}

// A service is a manager in the child, for net/rpc.
type service struct {
	kubelet Kubelet
	manager Manager
}

// StartArgs are those of Kubelet.Start.
type StartArgs struct {
	Folder string
	Pods   []Pod
}

func (s *service) Start(a StartArgs, _ *struct{}) (err error) {
	s.manager, err = s.kubelet.Start(a.Folder, a.Pods)
	return err
}

func (s *service) Count(resource string, c *Count) (err error) {
	*c, err = s.manager.Count(resource)
	return err
}

func (s *service) Admit(p Pod, _ *struct{}) error  { return s.manager.Admit(p) }
func (s *service) Remove(p Pod, _ *struct{}) error { return s.manager.Remove(p) }

func (s *service) Options(p Pod, o *Options) (err error) {
	*o, err = s.manager.Options(p)
	return err
}

func (s *service) Held(p Pod, ids *[]string) (err error) {
	*ids, err = s.manager.Held(p)
	return err
}

func (s *service) Health(p Pod, of *map[string]string) (err error) {
	*of, err = s.manager.Health(p)
	return err
}

// A process is a manager in a child. Stop kills it.
type process struct {
	cmd    *exec.Cmd
	client *rpc.Client
	log    *tail
}

// inOwnProcess is the kubelet in a process of its own for each life.
func (k Kubelet) inOwnProcess() Kubelet {
	k.Start = func(folder string, pods []Pod) (Manager, error) {
		p := &process{cmd: exec.Command(os.Args[0]), log: &tail{}} //nolint:gosec // ourselves
		p.cmd.Env = append(os.Environ(), childVariable+"=1")
		p.cmd.Stderr = p.log
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		in, err1 := p.cmd.StdinPipe()
		out, err2 := p.cmd.StdoutPipe()
		if err := errors.Join(err1, err2, p.cmd.Start()); err != nil {
			return nil, err
		}
		p.client = jsonrpc.NewClient(struct {
			io.Reader
			io.WriteCloser
		}{out, in})
		if err := p.client.Call("Kubelet.Start", StartArgs{folder, pods}, &struct{}{}); err != nil {
			p.Stop()
			return nil, fmt.Errorf("%w\n%s", err, p.log)
		}
		return p, nil
	}
	return k
}

func (p *process) Count(resource string) (c Count, err error) {
	err = p.client.Call("Kubelet.Count", resource, &c)
	return c, err
}

func (p *process) Admit(pod Pod) error  { return p.client.Call("Kubelet.Admit", pod, &struct{}{}) }
func (p *process) Remove(pod Pod) error { return p.client.Call("Kubelet.Remove", pod, &struct{}{}) }

func (p *process) Options(pod Pod) (o Options, err error) {
	err = p.client.Call("Kubelet.Options", pod, &o)
	return o, err
}

func (p *process) Held(pod Pod) (ids []string, err error) {
	err = p.client.Call("Kubelet.Held", pod, &ids)
	return ids, err
}

func (p *process) Health(pod Pod) (of map[string]string, err error) {
	err = p.client.Call("Kubelet.Health", pod, &of)
	return of, err
}

// Stop is kill -9: no socket is removed and no connection closed in order.
func (p *process) Stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.client.Close()
}

// freeze and thaw stop the process and let it go on.
func (p *process) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) thaw() error   { return p.cmd.Process.Signal(syscall.SIGCONT) }
