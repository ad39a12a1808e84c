package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Pods makes and removes pods of the default namespace, and hears what becomes of
// them at once.
type Pods struct {
	client *http.Client
	url    string
	news   chan news
}

// news is what the API server says of a pod.
type news struct {
	at          time.Time
	name        string
	ready, gone bool
	err         error // nothing will follow
}

// WatchPods follows the pods until ctx ends.
func (c *ControlPlane) WatchPods(ctx context.Context) (*Pods, error) {
	client, err := c.Client()
	if err != nil {
		return nil, err
	}
	p := &Pods{client: client, url: c.Server() + "/api/v1/namespaces/default/pods", news: make(chan news, 100)}
	body, err := p.request(ctx, http.MethodGet, p.url+"?watch=1", nil)
	if err != nil {
		return nil, err
	}
	go p.follow(body)
	return p, nil
}

func (p *Pods) follow(body io.ReadCloser) {
	defer body.Close()
	for in := json.NewDecoder(body); ; {
		var event struct {
			Type   string
			Object struct {
				Metadata struct{ Name string }
				Status   struct {
					Conditions []struct{ Type, Status string }
				}
			}
		}
		err := in.Decode(&event)
		n := news{at: time.Now(), name: event.Object.Metadata.Name, gone: event.Type == "DELETED", err: err}
		if err == nil && event.Type == "ERROR" {
			n.err = errors.New("the API server ended the watch")
		}
		for _, c := range event.Object.Status.Conditions {
			n.ready = n.ready || c.Type == "Ready" && c.Status == "True"
		}
		p.news <- n
		if n.err != nil {
			return
		}
	}
}

// Start makes a pod and returns how long it took to be ready.
func (p *Pods) Start(ctx context.Context, name string, pod map[string]any) (time.Duration, error) {
	content, err := json.Marshal(pod)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := p.ask(ctx, http.MethodPost, p.url, content); err != nil {
		return 0, err
	}
	at, err := p.hear(ctx, name, "ready", func(n news) bool { return n.ready })
	return at.Sub(begin), err
}

// Remove deletes a pod and returns how long it took to be gone.
func (p *Pods) Remove(ctx context.Context, name string) (time.Duration, error) {
	begin := time.Now()
	if err := p.Delete(ctx, name); err != nil {
		return 0, err
	}
	at, err := p.Gone(ctx, name)
	return at.Sub(begin), err
}

// Delete deletes a pod and does not wait.
func (p *Pods) Delete(ctx context.Context, name string) error {
	return p.ask(ctx, http.MethodDelete, p.url+"/"+name, nil)
}

// Gone waits until a pod is gone, and says when.
func (p *Pods) Gone(ctx context.Context, name string) (time.Time, error) {
	return p.hear(ctx, name, "gone", func(n news) bool { return n.gone })
}

// hear waits for news of a pod.
func (p *Pods) hear(ctx context.Context, name, what string, is func(news) bool) (at time.Time, err error) {
	for {
		select {
		case n := <-p.news:
			switch {
			case n.err != nil:
				return at, n.err
			case n.name == name && is(n):
				return n.at, nil
			}
		case <-ctx.Done():
			return at, fmt.Errorf("pod %s is not %s: %w", name, what, context.Cause(ctx))
		}
	}
}

func (p *Pods) ask(ctx context.Context, method, url string, content []byte) error {
	answer, err := p.request(ctx, method, url, content)
	if err != nil {
		return err
	}
	return answer.Close()
}

func (p *Pods) request(ctx context.Context, method, url string, content []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		defer response.Body.Close()
		said, _ := io.ReadAll(response.Body)
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, response.Status, said)
	}
	return response.Body, nil
}
