// Command soak runs a hub for as long as it is told to, with clients in another
// process that come and go in every way there is, read slowly and are signed
// out, and checks at the end that memory stayed flat, that no goroutine is left,
// and that nobody has lost or doubled a message.
//
//	go run ./soak -for 1h
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

func main() {
	var o options
	flag.DurationVar(&o.For, "for", time.Minute, "how long")
	flag.IntVar(&o.Clients, "clients", 300, "clients at a time")
	flag.IntVar(&o.Rate, "rate", 100, "publications a second, over all channels")
	flag.DurationVar(&o.Every, "every", time.Minute, "between lines of figures")
	load := flag.String("load", "", "be the load of the server there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *load != "" {
		err = runLoad(ctx, *load, o, os.Stdout)
	} else {
		err = run(ctx, o, os.Stdout, os.Args[0], "-load")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	For, Every    time.Duration
	Clients, Rate int
}

// args are o for the process of the load.
func (o options) args() []string {
	return []string{"-for", o.For.String(), "-clients", fmt.Sprint(o.Clients), "-every", o.Every.String()}
}

// run serves, has the clients run in a process of program, and judges.
func run(ctx context.Context, o options, out io.Writer, program string, loadFlag ...string) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	before := runtime.NumGoroutine()
	s, err := newServer("http://"+listener.Addr().String(), o.Rate, slog.New(slog.DiscardHandler))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	srv := &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(16 << 10) // a slow reader is soon noticed
		}
		return ctx
	}}
	serving := make(chan error, 1)
	go func() { serving <- srv.Serve(listener) }()

	args := append(append([]string{}, loadFlag...), "http://"+listener.Addr().String())
	cmd := exec.CommandContext(ctx, program, append(args, o.args()...)...)
	var answer strings.Builder
	cmd.Stdout, cmd.Stderr = &answer, os.Stderr
	watched := s.watch(o.Every, out)
	err = cmd.Run()
	samples := watched()

	var r report
	if e := json.Unmarshal([]byte(answer.String()), &r); e != nil {
		err = errors.Join(err, fmt.Errorf("the load said %q", answer.String()))
	}
	err = errors.Join(err, s.Close(), srv.Close())
	<-serving
	after := settle(before)
	fmt.Fprintf(out, "%+v\n", r)
	fmt.Fprintf(out, "goroutines before %d, after %d\n", before, after)
	if after > before {
		err = errors.Join(err, fmt.Errorf("%d goroutines are left", after-before))
	}
	return errors.Join(err, r.judge(o.For >= 5*time.Minute), flat(samples))
}
