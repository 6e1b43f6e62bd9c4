// Command app is the whole library in one program: accounts with passwords and
// provider sign-in, sessions, tokens, and a chat over WebSocket, on one SQLite
// file, or on several nodes with PostgreSQL and Redis. It needs no
// configuration; README.md lists the variables it reads.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
