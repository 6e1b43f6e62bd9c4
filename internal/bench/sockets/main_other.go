//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "sockets: the load generator needs epoll, which is Linux's")
	os.Exit(1)
}
