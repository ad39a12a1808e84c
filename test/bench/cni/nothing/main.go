// Command nothing does nothing: what the start and the end of a process cost.
package main

func main() {}
