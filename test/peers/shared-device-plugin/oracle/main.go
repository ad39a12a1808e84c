// Command oracle says which configurations k8s-rdma-shared-dev-plugin takes, by
// its own code:
//
//	oracle old-plugin.json
//
// The file is a list of configurations; the verdict of each is written into it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/Mellanox/k8s-rdma-shared-dev-plugin/pkg/resources"
)

// A verdict is what the old plugin says of a configuration.
type verdict struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Refused string `json:"refused,omitempty"` // why; empty if it is taken
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	log.SetOutput(io.Discard)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var all []verdict
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "oracle")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for n := range all {
		file := filepath.Join(dir, "config.json")
		if err := os.WriteFile(file, []byte(all[n].File), 0o600); err != nil {
			return err
		}
		all[n].Refused = ""
		if err := judge(file); err != nil {
			all[n].Refused = err.Error()
		}
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(all)
}

// judge does what the old plugin does with its file before it looks at the node.
func judge(file string) error {
	m := resources.NewResourceManager(file, false)
	if err := m.ReadConfig(); err != nil {
		return err
	}
	return m.ValidateConfigs()
}
