package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// A podAPI makes and removes pods, and hears what becomes of them at once.
type podAPI struct {
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

// watchPods follows the pods of the default namespace until ctx ends.
func watchPods(ctx context.Context, c *cluster.ControlPlane) (*podAPI, error) {
	client, err := c.Client()
	if err != nil {
		return nil, err
	}
	p := &podAPI{client: client, url: c.Server() + "/api/v1/namespaces/default/pods", news: make(chan news, 100)}
	body, err := p.request(ctx, http.MethodGet, p.url+"?watch=1", nil)
	if err != nil {
		return nil, err
	}
	go p.follow(body)
	return p, nil
}

func (p *podAPI) follow(body io.ReadCloser) {
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

// start makes a pod and returns how long it took to be ready.
func (p *podAPI) start(ctx context.Context, name string, pod map[string]any) (time.Duration, error) {
	content, err := json.Marshal(pod)
	if err != nil {
		return 0, err
	}
	return p.await(ctx, name, func(n news) bool { return n.ready }, http.MethodPost, p.url, content)
}

// remove deletes a pod and returns how long it took to be gone.
func (p *podAPI) remove(ctx context.Context, name string) (time.Duration, error) {
	return p.await(ctx, name, func(n news) bool { return n.gone }, http.MethodDelete, p.url+"/"+name, nil)
}

// await asks for something and waits until it is so.
func (p *podAPI) await(ctx context.Context, name string, is func(news) bool, method, url string, content []byte) (time.Duration, error) {
	begin := time.Now()
	answer, err := p.request(ctx, method, url, content)
	if err != nil {
		return 0, err
	}
	_ = answer.Close()
	for {
		select {
		case n := <-p.news:
			switch {
			case n.err != nil:
				return 0, n.err
			case n.name == name && is(n):
				return n.at.Sub(begin), nil
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("pod %s, after %s: %w", name, method, context.Cause(ctx))
		}
	}
}

func (p *podAPI) request(ctx context.Context, method, url string, content []byte) (io.ReadCloser, error) {
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
