package main

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/gatewire/gatewire/realtime"
)

// The rules, in whole numbers: the page predicts its own player's way by the same,
// and comes to the same place.
const (
	width, height = 1600, 900
	radius        = 28 // of a player
	gemRadius     = 14
	straight      = 14 // a tick's way along one axis
	diagonal      = 10 // and along both
	gems          = 6
	capacity      = 32 // players
	burst         = 4  // ticks' worth of inputs that may come late and be made up for
)

// input is all that a client can say: which way it goes for one tick.
type input struct {
	Seq uint32 `json:"seq"` // 1, 2, 3…: what was applied is told by it
	DX  int    `json:"dx"`  // -1, 0 or 1
	DY  int    `json:"dy"`
}

type point struct {
	X int `json:"x"`
	Y int `json:"y"`
}

type player struct {
	ID   string `json:"id"` // of the connection
	Name string `json:"name"`
	Hue  int    `json:"hue"` // degrees: no two that come one after another are alike
	point
	Score int    `json:"score"`
	Ack   uint32 `json:"ack"` // the last input that is in X and Y

	waiting []input
	credit  int // inputs that may be applied now: one more each tick
}

// world is where everybody is. Its methods may be called concurrently.
type world struct {
	mu      sync.Mutex
	tick    uint64
	joined  int // players, so far
	players []*player
	gems    []point
}

func newWorld() *world {
	w := &world{}
	for range gems {
		w.gems = append(w.gems, somewhere(gemRadius))
	}
	return w
}

func somewhere(r int) point {
	return point{r + rand.IntN(width-2*r), r + rand.IntN(height-2*r)}
}

// join lets a player in, at a place of the world's choice.
func (w *world) join(id, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.players) >= capacity {
		return &realtime.Error{Code: 400, Message: "the game is full"}
	}
	w.joined++
	w.players = append(w.players, &player{ID: id, Name: name, Hue: w.joined * 137 % 360, point: somewhere(radius)})
	return nil
}

func (w *world) leave(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.players = slices.DeleteFunc(w.players, func(p *player) bool { return p.ID == id })
}

// steer takes a client's word for where it wants to go, and for nothing else.
// Inputs that are repeated, or more than can be due, are left out.
func (w *world) steer(id string, in input) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.players {
		if p.ID != id {
			continue
		}
		last := p.Ack
		if n := len(p.waiting); n > 0 {
			last = p.waiting[n-1].Seq
		}
		if in.Seq > last && len(p.waiting) < 2*burst {
			p.waiting = append(p.waiting, in)
		}
	}
}

// advance brings the world to a tick, and returns what everybody is told of it:
// nothing while nobody is there. Ticks that were left out are made up for.
func (w *world) advance(tick uint64) json.RawMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ; w.tick < tick; w.tick++ {
		for _, p := range w.players {
			p.advance()
			w.collect(p)
		}
	}
	if len(w.players) == 0 {
		return nil
	}
	snapshot, err := json.Marshal(map[string]any{"tick": w.tick, "players": w.players, "gems": w.gems})
	if err != nil {
		return nil // unreachable: numbers and strings
	}
	return snapshot
}

// advance applies the inputs that are due. However many a client sends, it gets
// one for each tick; those of some ticks that came late together, together.
func (p *player) advance() {
	p.credit = min(p.credit+1, burst)
	n := min(p.credit, len(p.waiting))
	for _, in := range p.waiting[:n] {
		p.move(in)
	}
	p.credit -= n
	p.waiting = slices.Delete(p.waiting, 0, n)
}

func (p *player) move(in input) {
	dx, dy := min(max(in.DX, -1), 1), min(max(in.DY, -1), 1)
	way := straight
	if dx != 0 && dy != 0 {
		way = diagonal
	}
	p.X = min(max(p.X+dx*way, radius), width-radius)
	p.Y = min(max(p.Y+dy*way, radius), height-radius)
	p.Ack = in.Seq
}

// collect gives a player the gems they touch; others appear elsewhere.
func (w *world) collect(p *player) {
	for i, gem := range w.gems {
		dx, dy, reach := gem.X-p.X, gem.Y-p.Y, radius+gemRadius
		if dx*dx+dy*dy < reach*reach {
			p.Score++
			w.gems[i] = somewhere(gemRadius)
		}
	}
}
