// Package monitoring tests the alerts and the dashboard: that each alert fires
// when it should and has its section in the runbook, and that every metric they
// ask for is one that the device plugin has. It is a module of its own:
// Prometheus is not a dependency of the product.
//
// `make dashboard` has a real Prometheus scrape the device plugin in the lab,
// asks it the dashboard's queries, and draws the answers: docs/dashboard.png.
package monitoring
