package fabric

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// wireVersion is that of the messages; both sides must have the same.
const wireVersion = 1

// A message is a line of JSON between coordinator and node. It has one of the
// parts.
type message struct {
	Hello     *hello     `json:"hello,omitempty"`     // of a node, first
	Refused   string     `json:"refused,omitempty"`   // to a node that cannot take part
	Task      *task      `json:"task,omitempty"`      // to a node
	Listening *listening `json:"listening,omitempty"` // of a node that serves
	Stop      int        `json:"stop,omitempty"`      // to a node: the task that is to end
	Result    *result    `json:"result,omitempty"`    // of a node, for each task
	End       *end       `json:"end,omitempty"`       // to a node, last
}

type hello struct {
	Version int    `json:"version"`
	Rank    int    `json:"rank"`
	Nodes   int    `json:"nodes"`
	Name    string `json:"name"`
	Rails   []Rail `json:"rails"`
}

// A task is one side of one run of perftest. Numbers begin with 1.
type task struct {
	Number  int           `json:"number"`
	Program string        `json:"program"`
	Rail    int           `json:"rail"`
	Load    Load          `json:"load"`
	Serve   bool          `json:"serve"`
	Server  string        `json:"server"` // the address that the client connects to
	Port    int           `json:"port"`   // and the port; the server chooses it
	Within  time.Duration `json:"within"`
}

type listening struct {
	Number int `json:"number"`
	Port   int `json:"port"`
}

type result struct {
	Number      int         `json:"number"`
	Measurement Measurement `json:"measurement"`
	Error       string      `json:"error,omitempty"`
	// Rail is how the NIC is after the run.
	Rail *Rail `json:"now,omitempty"`
}

type end struct {
	Verdict Verdict `json:"verdict"`
}

// longestMessage bounds a line, in bytes: a node with a hundred NICs says hello in
// a third of it.
const longestMessage = 1 << 20

// writeWait is how long the other side may take to take a message.
const writeWait = 10 * time.Second

// A wire carries messages over a connection.
type wire struct {
	conn  net.Conn
	lines *bufio.Scanner
	mu    sync.Mutex // one line at a time
}

func newWire(conn net.Conn) *wire {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, longestMessage)
	return &wire{conn: conn, lines: lines}
}

func (w *wire) send(m message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, err = w.conn.Write(append(b, '\n'))
	return err
}

func (w *wire) receive() (m message, err error) {
	if !w.lines.Scan() {
		err := w.lines.Err()
		if err == nil {
			err = io.EOF
		}
		return m, err
	}
	if err := json.Unmarshal(w.lines.Bytes(), &m); err != nil {
		return m, fmt.Errorf("not a message: %w", err)
	}
	return m, nil
}
