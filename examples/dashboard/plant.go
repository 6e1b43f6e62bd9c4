package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gatewire/gatewire/realtime"
)

const (
	machines = 200
	pace     = 20 * time.Millisecond // from one machine's change to the next: each changes about every 4 s
)

// reading is a machine's load in percent, and when it changed, in milliseconds of
// the plant's clock.
type reading [2]int64

// plant is some simulated machines. Its methods may be called concurrently.
type plant struct {
	began time.Time
	board *realtime.Board // is told of every change

	mu       sync.Mutex
	readings map[string]reading
}

func newPlant() *plant {
	p := &plant{began: time.Now(), readings: map[string]reading{}}
	for i := range machines {
		p.readings[fmt.Sprintf("m%03d", i+1)] = reading{20 + rand.Int64N(60), 0}
	}
	return p
}

// clock is the plant's time in milliseconds.
func (p *plant) clock() float64 { return float64(time.Since(p.began).Microseconds()) / 1000 }

// all is every machine's reading.
func (p *plant) all() map[string]reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.readings)
}

// run changes one machine after another until ctx ends.
func (p *plant) run(ctx context.Context) {
	for name, r := range p.all() {
		_ = p.board.Set(name, r)
	}
	next := time.NewTicker(pace)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			p.change(fmt.Sprintf("m%03d", rand.IntN(machines)+1))
		case <-ctx.Done():
			return
		}
	}
}

// change moves a machine's load up or down.
func (p *plant) change(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	load := p.readings[name][0]
	by := 1 + rand.Int64N(15)
	if load+by > 99 || load-by >= 1 && rand.IntN(2) == 0 {
		by = -by
	}
	p.readings[name] = reading{load + by, int64(p.clock())}
	_ = p.board.Set(name, p.readings[name]) // fails for boards beyond Options.MaxQueue alone
}
