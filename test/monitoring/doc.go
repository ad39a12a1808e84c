// Package monitoring tests the alerts and the dashboard: that each alert fires
// when it should and has its section in the runbook, and that every metric they
// ask for is one that the device plugin has. It is a module of its own:
// Prometheus is not a dependency of the product.
package monitoring
