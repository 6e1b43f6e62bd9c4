package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What the program tells itself when it starts again.
const (
	envServer = "GATEWIRE_SOCKETS_SERVER" // the peer to serve
	envSecure = "GATEWIRE_SOCKETS_TLS"
	envHeap   = "GATEWIRE_SOCKETS_HEAP" // what is allocated is sampled, closely
	envPinned = "GATEWIRE_SOCKETS_PINNED"
)

var (
	flagSteps   = flag.String("steps", "fanout,latency,idle,echo,tls,cores", "what to measure")
	flagPeers   = flag.String("peers", strings.Join(all, ","), "whom to measure")
	flagSizes   = flag.String("n", "1000,5000", "subscribers of the fan-out")
	flagReps    = flag.Int("reps", 3, "repetitions, in alternating order")
	flagLong    = flag.Duration("for", time.Second, "each measurement")
	flagIdle    = flag.Int("idle", 10_000, "idle connections")
	flagPin     = flag.String("pin", "0,1", "core of the server and of the generator; empty: any")
	flagOut     = flag.String("out", "", "file to which every single result is added, as JSON lines")
	flagReport  = flag.String("report", "", "measure nothing: make the tables of such a file")
	flagTries   = flag.Int("tries", 2, "measurements where others took more than 8 % of the server's core; the last counts")
	flagProfile = flag.String("profile", "", "folder for profiles of the servers: CPU of the steps, memory of idle connections")
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sockets:", err)
		os.Exit(1)
	}
}

func run() error {
	if name := os.Getenv(envServer); name != "" {
		runtime.MemProfileRate = 0
		if os.Getenv(envHeap) != "" {
			runtime.MemProfileRate = 4096
		}
		if err := pin(); err != nil {
			return err
		}
		return serverMain(name, os.Getenv(envSecure) != "")
	}
	flag.Parse()
	if *flagReport != "" {
		b := &bench{}
		if err := b.load(*flagReport); err != nil {
			return err
		}
		b.report(os.Stdout)
		return nil
	}
	if *flagPin != "" && os.Getenv(envPinned) == "" {
		_, core, ok := strings.Cut(*flagPin, ",")
		if !ok {
			return fmt.Errorf("-pin %q: two cores are needed", *flagPin)
		}
		if err := os.Setenv(envPinned, core); err != nil {
			return err
		}
		return pin()
	}
	b := &bench{}
	if err := b.all(); err != nil {
		return err
	}
	b.report(os.Stdout)
	return nil
}

// pin starts the program again on the core that the environment names: threads
// take over the affinity of the one that made them, so this reaches all.
func pin() error {
	core := os.Getenv(envPinned)
	if core == "" || core == "done" {
		return nil
	}
	n, err := strconv.Atoi(core)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(n)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("core %d: %w", n, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(envPinned, "done"); err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

// bench runs the steps and keeps what came of them.
type bench struct {
	results []result
}

// result is one measurement.
type result struct {
	Step string             `json:"step"`
	Peer string             `json:"peer"`
	Rep  int                `json:"rep"`
	V    map[string]float64 `json:"v"`
}

// load reads results that were written down.
func (b *bench) load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for d := json.NewDecoder(f); ; {
		var r result
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		b.results = append(b.results, r)
	}
}

func (b *bench) all() error {
	steps, names := strings.Split(*flagSteps, ","), strings.Split(*flagPeers, ",")
	for rep := range *flagReps {
		order := slices.Clone(names)
		if rep%2 == 1 {
			slices.Reverse(order)
		}
		for _, step := range steps {
			for _, name := range order {
				if err := b.step(step, name, rep); err != nil {
					return fmt.Errorf("%s of %s: %w", step, name, err)
				}
			}
		}
	}
	return nil
}

func (b *bench) step(step, name string, rep int) error {
	switch step {
	case "fanout":
		for _, size := range strings.Split(*flagSizes, ",") {
			n, err := strconv.Atoi(size)
			if err != nil {
				return err
			}
			if err := b.with(name, rep, setting{}, func(s *site) error { return s.fanout("fanout", n) }); err != nil {
				return err
			}
		}
		return nil
	case "latency":
		return b.with(name, rep, setting{}, (*site).latency)
	case "idle":
		return b.with(name, rep, setting{}, (*site).idle)
	case "echo":
		return b.with(name, rep, setting{}, (*site).echo)
	case "tls":
		if name != "gatewire" && name != "gws" {
			return nil
		}
		return b.with(name, rep, setting{secure: true}, func(s *site) error { return s.fanout("tls", 1000) })
	case "cores":
		if name != "gatewire" && name != "gws" && name != "centrifuge" {
			return nil
		}
		for _, procs := range []int{1, 2} {
			step := fmt.Sprintf("cores N=5000 GOMAXPROCS=%d", procs)
			if err := b.with(name, rep, setting{procs: procs}, func(s *site) error { return s.rounds(step) }); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("no step %q", step)
	}
}

// setting is how a server runs.
type setting struct {
	secure bool
	procs  int // not pinned, with so many; 0: pinned
}

// site is a running server with the generator aimed at it.
type site struct {
	*load
	bench *bench
	peer  string
	rep   int
}

func (s *site) note(step string, v map[string]float64) {
	r := result{step, s.peer, s.rep, v}
	s.bench.results = append(s.bench.results, r)
	line, err := json.Marshal(r)
	if err != nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s\n", line)
	if *flagOut != "" {
		if f, err := os.OpenFile(*flagOut, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			_, _ = f.Write(append(line, '\n'))
			_ = f.Close()
		}
	}
}

// with starts the server of a peer and does f with it.
func (b *bench) with(name string, rep int, how setting, f func(*site) error) error {
	var here, there [2]int
	for i := range here {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		here[i], there[i] = pair[0], pair[1]
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), envServer+"="+name)
	if *flagProfile != "" {
		cmd.Env = append(cmd.Env, envHeap+"=1")
	}
	if how.secure {
		cmd.Env = append(cmd.Env, envSecure+"=1")
	}
	first, _, _ := strings.Cut(*flagPin, ",")
	pinned := how.procs == 0 && first != ""
	if pinned {
		cmd.Env = append(cmd.Env, envPinned+"="+first, "GOMAXPROCS=1")
	} else {
		cmd.Env = append(cmd.Env, envPinned+"=", "GOMAXPROCS="+strconv.Itoa(max(how.procs, 1)))
	}
	for i, fd := range there {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fd), "socket"+strconv.Itoa(i)))
	}
	l, err := newLoad(pinned, here[0], here[1])
	if err != nil {
		return err
	}
	if !pinned { // the generator's core is for all: the child takes over what this thread has
		restore, err := everyCore()
		if err != nil {
			return err
		}
		defer restore()
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	defer func() {
		l.hangUp()
		for _, fd := range []int{here[0], here[1], l.epoll} {
			_ = unix.Close(fd)
		}
		done := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		done.Stop()
	}()
	l.secure = how.secure
	if err := l.greet(); err != nil {
		return err
	}
	return f(&site{load: l, bench: b, peer: name, rep: rep})
}

// everyCore lets this thread run anywhere, until restore.
func everyCore() (restore func(), err error) {
	runtime.LockOSThread()
	var before, all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	for i := range 1024 {
		all.Set(i)
	}
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		return nil, err
	}
	return func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	}, nil
}

// people signs n users in and connects them.
func (s *site) people(n int) error {
	a, err := s.ask(order{Do: "sign in", N: n})
	if err != nil {
		return err
	}
	if err := s.connect(a.Cookies, 64); err != nil {
		return err
	}
	return s.subscribe()
}

// share is how much of its last order the generator was idle.
func (l *load) share() float64 { return l.idle.Seconds() / l.total.Seconds() }

// fanout measures n subscribers, with one message and with sixteen under way.
func (s *site) fanout(step string, n int) error {
	if err := s.people(n); err != nil {
		return err
	}
	for _, w := range []int{1, 16} {
		name := fmt.Sprintf("%s N=%d W=%d", step, n, w)
		if err := s.between(name, n, w); err != nil {
			return err
		}
	}
	return nil
}

// between measures the peer between two floors, and again where somebody else
// took much of the server's core.
func (s *site) between(name string, n, w int) error {
	measure := func(floor bool) (answer, error) {
		long, warm := *flagLong, *flagLong/5
		if floor {
			long, warm = *flagLong*6/10, *flagLong/10
		}
		a, err := s.ask(order{Do: "send", Floor: floor, Window: w, Warm: warm, For: long})
		s.size = 0 // the next may have numbers of another width
		return a, err
	}
	for try := 1; ; try++ {
		before, err := measure(true)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		if err := s.profile(name, true); err != nil {
			return err
		}
		a, err := measure(false)
		if err != nil {
			return err
		}
		idle := s.share()
		if err := s.profile(name, false); err != nil {
			return err
		}
		after, err := measure(true)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		foreign := max(before.Spent.Foreign, a.Spent.Foreign, after.Spent.Foreign)
		if foreign > 0.08 && try < *flagTries {
			continue
		}
		rate := func(p spent) float64 { return float64(p.Messages*n) / p.Seconds }
		cpu := func(p spent) float64 { return p.CPU * 1e6 / float64(p.Messages*n) }
		floor, floorCPU := (rate(before.Spent)+rate(after.Spent))/2, (cpu(before.Spent)+cpu(after.Spent))/2
		s.note(name, map[string]float64{
			"deliveries/s": rate(a.Spent), "floor/s": floor, "of the floor": rate(a.Spent) / floor,
			"cpu us": cpu(a.Spent), "by cpu": floorCPU / cpu(a.Spent),
			"allocs": float64(a.Spent.Mallocs) / float64(a.Spent.Messages*n), "bytes": float64(a.Spent.Bytes) / float64(a.Spent.Messages*n),
			"server busy": a.Spent.CPU / a.Spent.Seconds, "floor busy": (before.Spent.CPU/before.Spent.Seconds + after.Spent.CPU/after.Spent.Seconds) / 2, "generator idle": idle, "foreign": foreign,
		})
		return nil
	}
}

func (s *site) profile(name string, on bool) error {
	if *flagProfile == "" {
		return nil
	}
	o := order{Do: "profile"}
	if on {
		o.File = filepath.Join(*flagProfile, strings.NewReplacer(" ", "-", "=", "").Replace(s.peer+" "+name)+".pprof")
	}
	_, err := s.ask(o)
	return err
}

// latency measures until the last of 1,000 has a message, ten a second.
func (s *site) latency() error {
	const n = 1000
	if err := s.people(n); err != nil {
		return err
	}
	measure := func(floor bool, messages int) ([]int64, error) {
		s.delays = s.delays[:0]
		_, err := s.ask(order{Do: "send", Floor: floor, Every: 100 * time.Millisecond, N: messages})
		s.size = 0
		slices.Sort(s.delays)
		return s.delays, err
	}
	ms := func(d []int64, q float64) float64 { return float64(d[int(q*float64(len(d)-1))]) / 1e6 }
	if _, err := measure(false, 5); err != nil {
		return err
	}
	d, err := measure(true, 25)
	if err != nil {
		return err
	}
	floor := ms(d, 0.5)
	if d, err = measure(false, 40); err != nil {
		return err
	}
	p50, p90 := ms(d, 0.5), ms(d, 0.9)
	if d, err = measure(true, 25); err != nil {
		return err
	}
	floor = (floor + ms(d, 0.5)) / 2
	s.note("latency N=1000", map[string]float64{"p50 ms": p50, "p90 ms": p90, "floor p50 ms": floor, "of the floor": p50 / floor})
	return nil
}

// rounds measures how long a message takes to 5,000 sockets that nobody reads
// meanwhile, so that all processors are the server's.
func (s *site) rounds(step string) error {
	if err := s.people(5000); err != nil {
		return err
	}
	measure := func(floor bool, messages int) (float64, float64, error) {
		s.delays = s.delays[:0]
		a, err := s.ask(order{Do: "send", Floor: floor, Every: 150 * time.Millisecond, N: messages})
		s.size = 0
		if err != nil {
			return 0, 0, err
		}
		slices.Sort(s.delays)
		return float64(s.delays[len(s.delays)/2]) / 1e6, a.Spent.CPU * 1e3 / float64(messages), nil
	}
	s.lazy = true
	if _, _, err := measure(false, 5); err != nil {
		return err
	}
	before, _, err := measure(true, 10)
	if err != nil {
		return err
	}
	all, cpu, err := measure(false, 20)
	if err != nil {
		return err
	}
	after, _, err := measure(true, 10)
	if err != nil {
		return err
	}
	floor := (before + after) / 2
	s.note(step, map[string]float64{"all have it, ms": all, "cpu ms": cpu, "floor ms": floor, "of the floor": floor / all})
	return nil
}

// idle measures handshakes, then what the connections hold once they are in the
// channel, then how soon sign-outs close them.
func (s *site) idle() error {
	n := *flagIdle
	a, err := s.ask(order{Do: "sign in", N: n})
	if err != nil {
		return err
	}
	cookies := a.Cookies
	if err := s.connect(cookies[:200], 64); err != nil { // the first of everything
		return err
	}
	if err := s.subscribe(); err != nil {
		return err
	}
	s.hangUp()
	if err := s.workFor(3 * time.Second); err != nil { // those who left are forgotten
		return err
	}
	base, err := s.ask(order{Do: "held"})
	if err != nil {
		return err
	}
	before, err := s.ask(order{Do: "spent"})
	if err != nil {
		return err
	}
	if err := s.profile("handshakes", true); err != nil {
		return err
	}
	s.load.idle, s.load.total = 0, 0
	start := time.Now()
	if err := s.connect(cookies, 64); err != nil {
		return err
	}
	if s.broken != nil {
		return s.broken
	}
	took, idle := time.Since(start).Seconds(), s.share()
	if err := s.profile("handshakes", false); err != nil {
		return err
	}
	after, err := s.ask(order{Do: "spent"})
	if err != nil {
		return err
	}
	if err := s.subscribe(); err != nil {
		return err
	}
	if err := s.workFor(time.Second); err != nil {
		return err
	}
	heap := order{Do: "held"}
	if *flagProfile != "" {
		heap.File = filepath.Join(*flagProfile, s.peer+"-idle.heap")
	}
	full, err := s.ask(heap)
	if err != nil {
		return err
	}
	each := func(a, b int) float64 { return float64(b-a) / float64(n) }
	s.note("idle", map[string]float64{
		"rss": each(base.Held.RSS, full.Held.RSS), "heap": each(base.Held.Heap, full.Held.Heap),
		"stack": each(base.Held.Stack, full.Held.Stack), "goroutines": each(base.Held.Goroutines, full.Held.Goroutines),
		"handshakes/s": float64(n) / took, "handshake cpu ms": (after.Spent.CPU - before.Spent.CPU) * 1e3 / float64(n),
		"handshake allocs": float64(after.Spent.Mallocs-before.Spent.Mallocs) / float64(n), "generator idle": idle,
	})
	if s.peer != "gatewire" {
		return nil
	}
	return s.signOut()
}

// signOut signs some of all out and waits for the closes.
func (s *site) signOut() error {
	const n = 1000
	// Where a scheduler takes processors from who uses them without end, it would
	// be the generator that is late.
	busy := s.busy
	s.busy = false
	defer func() { s.busy = busy }()
	a, err := s.ask(order{Do: "sign out", N: n, Every: 4 * time.Millisecond})
	if err != nil {
		return err
	}
	if err := s.workFor(time.Second); err != nil {
		return err
	}
	d := make([]int64, n)
	for i, sock := range s.all {
		switch {
		case i >= n && sock.state == closed:
			return fmt.Errorf("a connection whose session lives was closed with %d", sock.code)
		case i >= n:
		case sock.state != closed || sock.code != 4501:
			return fmt.Errorf("a connection was not closed with 4501 a second after its sign-out, but %d", sock.code)
		default:
			d[i] = sock.end - a.Begun[i]
		}
	}
	slices.Sort(d)
	s.note("sign-out", map[string]float64{"p50 ms": float64(d[n/2]) / 1e6, "p99 ms": float64(d[n*99/100]) / 1e6, "longest ms": float64(d[n-1]) / 1e6})
	return nil
}

// echo measures request and reply on 100 connections, one under way on each.
func (s *site) echo() error {
	if err := s.people(100); err != nil {
		return err
	}
	if err := s.load.echo(); err != nil {
		return err
	}
	if err := s.workFor(*flagLong / 2); err != nil {
		return err
	}
	before, err := s.ask(order{Do: "spent"})
	if err != nil {
		return err
	}
	if err := s.profile("echo", true); err != nil {
		return err
	}
	first, start := s.replies, time.Now()
	s.load.idle, s.load.total, s.delays = 0, 0, s.delays[:0]
	if err := s.workFor(*flagLong * 3 / 2); err != nil {
		return err
	}
	trips, took, idle := s.replies-first, time.Since(start).Seconds(), s.share()
	slices.Sort(s.delays)
	p50, p99 := s.delays[len(s.delays)/2], s.delays[len(s.delays)*99/100]
	if err := s.profile("echo", false); err != nil {
		return err
	}
	// Trips go on while the server counts.
	after, err := s.ask(order{Do: "spent"})
	if err != nil {
		return err
	}
	all := s.replies - first
	s.note("echo", map[string]float64{
		"trips/s": float64(trips) / took, "p50 ms": float64(p50) / 1e6, "p99 ms": float64(p99) / 1e6,
		"cpu us": (after.Spent.CPU - before.Spent.CPU) * 1e6 / float64(all),
		"allocs": float64(after.Spent.Mallocs-before.Spent.Mallocs) / float64(all), "generator idle": idle,
	})
	return nil
}
