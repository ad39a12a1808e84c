package dra

import (
	"log/slog"

	resourceapi "k8s.io/api/resource/v1"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
)

// files are what the administrator says: which devices there are, and what more
// to say of them.
type files struct {
	*config.Config
	extras extras
	text   string // of both
}

// readFiles reads both files; an error means that they cannot be used.
func readFiles(configFile, attributesFile string) (*files, error) {
	c, text, err := config.Load(configFile)
	if err != nil {
		return nil, err
	}
	more, moreText, err := readExtras(attributesFile)
	if err != nil {
		return nil, err
	}
	return &files{c, more, text + "\x00" + moreText}, nil
}

// report logs what is wrong with a configuration that comes into force.
func (f *files) report(log *slog.Logger) {
	for _, fault := range f.Faults {
		switch fault.Cost {
		case config.LeftOut:
			log.Error("a resource of the configuration is left out", "err", fault)
		case config.Ignored:
			log.Error("a mistake in the configuration is ignored", "err", fault)
		case config.Nothing:
			log.Info("a note on the configuration", "note", fault)
		}
	}
	for _, r := range f.Resources {
		if len(r.Name) > resourceapi.DeviceAttributeMaxValueLength {
			log.Warn("the name of a resource is too long for an attribute; its devices have no resourceName",
				"resource", r.Name, "longest", resourceapi.DeviceAttributeMaxValueLength)
		}
	}
}
