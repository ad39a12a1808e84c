// Package report writes what a benchmark measured into docs/benchmarks.md: a
// section of its own with a table and a chart, so that each benchmark renews its
// own figures and leaves the others' alone.
package report
