// Package deployments tests the manifests: that they are what Kubernetes takes,
// that kustomize and Helm say the same, and that the configurations in them are
// what the programs take. It is a module of its own: Helm and kustomize are no
// dependencies of the product.
package deployments
