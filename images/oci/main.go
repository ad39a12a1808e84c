// Command oci writes the container image without Docker or a registry: an OCI
// image layout in a tar file, with an image for each architecture. The same root
// folders give the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.roots, "roots", "", "`folder` with the root folder of each architecture")
	flag.StringVar(&o.architectures, "architectures", allArchitectures, "the `names` of those")
	flag.StringVar(&o.entrypoint, "entrypoint", "", "the `path` of the program that it runs")
	flag.StringVar(&o.path, "path", "", "the `folders` where it looks for programs")
	flag.StringVar(&o.name, "name", "", "the image's `name`, with its tag")
	flag.StringVar(&o.title, "title", "", "its `title`, for the labels")
	flag.StringVar(&o.description, "description", "", "its description, for the labels")
	flag.StringVar(&o.source, "source", "https://github.com/roce-k8s/roce-k8s", "where its source is, for the labels")
	flag.StringVar(&o.licenses, "licenses", "", "its licence as an SPDX `expression`, for the labels")
	flag.StringVar(&o.version, "version", "", "the `version`, for the labels")
	flag.StringVar(&o.revision, "revision", "", "the `commit`, for the labels")
	out := flag.String("out", "", "the `file` to write")
	created := flag.String("created", os.Getenv("SOURCE_DATE_EPOCH"), "the commit's time in `seconds` since 1970")
	flag.Parse()
	if err := run(o, *created, *out); err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
}

func run(o options, created, out string) error {
	seconds, err := strconv.ParseInt(created, 10, 64)
	if err != nil {
		return fmt.Errorf("-created or SOURCE_DATE_EPOCH %q: %w", created, err)
	}
	o.created = time.Unix(seconds, 0).UTC()
	index, err := o.index()
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	if err := o.write(index, out); err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", o.name, digest)
	return nil
}
