// Package bundle packs what support asks for first into one file: a compressed
// tar archive, from which what looks like a secret is left out.
//
// It knows archives and how secrets are written. It must not know what its parts
// are about.
package bundle
