package cluster

import (
	"context"
	"encoding/base64"
	"os"
	"time"
)

// certificate waits for the certificate that the API server makes for itself,
// and returns it as a kubeconfig wants it.
func (c *ControlPlane) certificate() (encoded string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = Eventually(ctx, func() error {
		pem, err := os.ReadFile(c.path("certificates/apiserver.crt"))
		encoded = base64.StdEncoding.EncodeToString(pem)
		return err
	})
	return encoded, err
}
