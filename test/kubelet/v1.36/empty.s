// A function without a body, as that of go:linkname, needs a package with assembly.
