// Command kubelet-standin runs the stand-in kubelet, for scripts. It obeys lines on standard input and answers
// each with one line of JSON:
//
//	status RESOURCE           {"allocatable":8,"capacity":8,"messages":1,"registrations":1}
//	wait RESOURCE N SECONDS   the same, once N are allocatable
//	allocate RESOURCE N       {"ids":["0"],"response":{...}}
//	free RESOURCE ID...       {}
//	restart                   {}
//
// What goes wrong is answered with {"error":"..."}. It ends with its input, or when it is told to.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

func main() {
	dir := flag.String("dir", strings.TrimSuffix(pluginapi.DevicePluginPath, "/"), "device plugin `folder`")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, os.Stdin, os.Stdout, log); err != nil {
		log.Error("kubelet-standin", "error", err)
		os.Exit(1)
	}
}

// run obeys until the input or ctx ends. When ctx ends first, the read that is under way is left behind.
func run(ctx context.Context, dir string, in io.Reader, out io.Writer, log *slog.Logger) error {
	k, err := kubelet.Start(dir, log)
	if err != nil {
		return err
	}
	defer k.Close()
	lines, readErr := make(chan string), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
			}
		}
		readErr <- scanner.Err()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok {
				return <-readErr
			}
			answer, err := obey(ctx, k, strings.Fields(line))
			if err != nil {
				answer = map[string]any{"error": err.Error()}
			}
			if err := json.NewEncoder(out).Encode(answer); err != nil {
				return fmt.Errorf("answering: %w", err)
			}
		}
	}
}

// obey does what one line says.
func obey(ctx context.Context, k *kubelet.Kubelet, words []string) (map[string]any, error) {
	switch {
	case len(words) == 1 && words[0] == "restart":
		return map[string]any{}, k.Restart()
	case len(words) == 2 && words[0] == "status":
		return status(k, words[1]), nil
	case len(words) == 4 && words[0] == "wait":
		n, err := strconv.Atoi(words[2])
		seconds, secondsErr := strconv.Atoi(words[3])
		if err := errors.Join(err, secondsErr); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
		defer cancel()
		if err := k.Wait(ctx, words[1], n); err != nil {
			return nil, err
		}
		return status(k, words[1]), nil
	case len(words) == 3 && words[0] == "allocate":
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return nil, err
		}
		response, ids, err := k.Allocate(words[1], n)
		if err != nil {
			return nil, err
		}
		encoded, err := protojson.Marshal(response)
		return map[string]any{"ids": ids, "response": json.RawMessage(encoded)}, err
	case len(words) >= 3 && words[0] == "free":
		k.Free(words[1], words[2:]...)
		return map[string]any{}, nil
	}
	return nil, fmt.Errorf("not understood: %q", strings.Join(words, " "))
}

func status(k *kubelet.Kubelet, resource string) map[string]any {
	capacity, allocatable := k.Allocatable(resource)
	return map[string]any{"capacity": capacity, "allocatable": allocatable,
		"registrations": k.Registrations(resource), "messages": k.Messages(resource)}
}
