package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

// A Chain is the plugin in the list of a node's network.
type Chain struct {
	Dir     string // of the CNI configurations
	Plugins string // the folder of the CNI plugins
	Log     *slog.Logger
}

// Check tells whether the network that a pod gets now has the plugin in its list.
// It is for who must not let a pod begin without.
func Check(dir string) error {
	lists, err := places(dir)
	if err != nil {
		return err
	}
	if !lists[0].chained() {
		return fmt.Errorf("%s is not in the list of plugins in %s: is the installer of the chain running?", Plugin, lists[0].path)
	}
	return nil
}

// Put puts the plugin at the end of the list, if it is not in it, and returns the
// files that it changed. A list that has it somewhere else stays: who put something
// behind it means that.
func (c Chain) Put() (changed []string, err error) {
	err = alone(c.Dir, func() error {
		lists, err := places(c.Dir)
		if err != nil {
			return err
		}
		for _, list := range lists {
			if list.chained() {
				continue
			}
			if err := list.check(); err != nil {
				return err
			}
			if err := list.replace(add(list.text, list.plugins(), element)); err != nil {
				return err
			}
			changed = append(changed, list.path)
		}
		return nil
	})
	return changed, err
}

// Remove takes the plugin out of all lists of the folder, and returns the files
// that it changed.
func (c Chain) Remove() (changed []string, err error) {
	err = alone(c.Dir, func() error {
		paths, err := files(c.Dir)
		if err != nil {
			return err
		}
		var errs []error
		for _, path := range paths {
			if isLink(path) {
				continue // Put changes none
			}
			f, err := readFile(path)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			text, err := without(f)
			if err == nil && string(text) != string(f.text) {
				if err = f.replace(text); err == nil {
					changed = append(changed, path)
				}
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return changed, err
}

// without is what a file says without the plugin.
func without(f *file) ([]byte, error) {
	text := f.text
	for {
		// Each removal moves what is behind it.
		root, err := parse(text)
		if err != nil {
			return nil, err
		}
		now := &file{f.path, text, root}
		list, i := now.first(root)
		switch {
		case list == nil:
			return text, nil
		case len(list.elements) == 1:
			return nil, fmt.Errorf("%s has a list with nothing but %s; remove the list", f.path, Plugin)
		}
		text = remove(text, list, i)
	}
}

// first is the first place of the plugin in a list, anywhere in a value.
func (f *file) first(v *value) (list *value, at int) {
	for _, inner := range v.members {
		if list, at := f.first(inner); list != nil {
			return list, at
		}
	}
	for i, inner := range v.elements {
		if inner.members != nil && f.isOurs(inner) {
			return v, i
		}
		if list, at := f.first(inner); list != nil {
			return list, at
		}
	}
	return nil, 0
}

// pause is that between two looks without an event.
const pause = 30 * time.Second

// Run keeps the plugin in the list until the context ends: what an agent of the
// network writes anew, it changes anew. While the plugin's program is missing, or
// does not know claims, the list does not have it: each pod of the node would fail.
//
// The last installer of a node takes the plugin out when it ends: nobody would any
// more. In a rollout the next one is there before.
func (c Chain) Run(ctx context.Context) {
	among := join(c.Plugins)
	defer among.leave()
	c.follow(ctx)
	if !among.last() {
		return
	}
	if err := c.Take(); err != nil {
		c.Log.Error("the plugin stays in the list of the node's network", "err", err)
	}
}

// follow has the list as it should be whenever something may have changed.
func (c Chain) follow(ctx context.Context) {
	look := make(chan struct{}, 1)
	for _, dir := range []string{c.Dir, c.Plugins} {
		f := watch.Folder{Dir: dir, Every: pause, Log: c.Log}
		if dir == c.Plugins {
			f.Relevant = func(path string) bool { return filepath.Base(path) == Plugin }
		}
		go f.Run(ctx, func() { watch.Poke(look) })
	}
	said := logging.Once{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
			c.keep(ctx, said)
		}
	}
}

// keep has the list as it should be.
func (c Chain) keep(ctx context.Context, said logging.Once) {
	err := c.settle(ctx)
	if ctx.Err() != nil {
		return // the end is no trouble
	}
	message := ""
	if err != nil {
		message = err.Error()
	}
	if said.News("", message) && err != nil {
		c.Log.Error("pods with claims cannot start on this node", "err", err)
	}
}

func (c Chain) settle(ctx context.Context) error {
	why, err := unfit(ctx, c.Plugins)
	switch {
	case err != nil:
		return err
	case why != nil:
		return errors.Join(why, c.Take())
	}
	changed, err := c.Put()
	for _, path := range changed {
		c.Log.Info("added the plugin to the list of the node's network", "file", path)
	}
	return err
}

// Take removes the plugin from all lists, and says so.
func (c Chain) Take() error {
	changed, err := c.Remove()
	for _, path := range changed {
		c.Log.Info("took the plugin out of the list of the node's network", "file", path)
	}
	return err
}
