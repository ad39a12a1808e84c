// Package deployments tests the manifests: that Kubernetes accepts them, that
// kustomize and Helm say the same, and that the programs accept the
// configurations in them. It is a module of its own: Helm and kustomize are not
// dependencies of the product.
package deployments
