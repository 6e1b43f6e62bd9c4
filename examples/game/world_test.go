package main

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime"
)

// alone is a world with one player in the middle of it, and no gems.
func alone(t *testing.T) (*world, *player) {
	w := &world{}
	require.NoError(t, w.join("ada", "Ada"))
	p := w.players[0]
	p.point = point{width / 2, height / 2}
	return w, p
}

func TestOneInputATick(t *testing.T) {
	w, p := alone(t)
	for seq := range uint32(3) {
		w.steer("ada", input{Seq: seq + 1, DX: 1})
	}
	at := p.X
	w.advance(1)
	require.Equal(t, at+straight, p.X, "the others wait for their ticks")
	require.Equal(t, uint32(1), p.Ack)
	w.advance(2)
	w.advance(3)
	require.Equal(t, at+3*straight, p.X)
	w.advance(4)
	require.Equal(t, at+3*straight, p.X, "who says nothing stands still")

	// Three ticks' inputs that come late, together, are made up for.
	w.advance(7)
	for seq := range uint32(3) {
		w.steer("ada", input{Seq: seq + 4, DY: -1})
	}
	w.advance(8)
	require.Equal(t, height/2-3*straight, p.Y)
	require.Equal(t, uint32(6), p.Ack)

	// So are ticks of the server's that were left out.
	for seq := range uint32(3) {
		w.steer("ada", input{Seq: seq + 7, DX: -1})
	}
	p.credit = 0
	w.advance(11)
	require.Equal(t, at, p.X)
	require.Equal(t, uint64(11), w.tick)
}

func TestInputsAreNotBelieved(t *testing.T) {
	for name, test := range map[string]struct {
		in   []input
		want point // moved by
	}{
		"larger than a step":    {[]input{{1, 1000, 0}}, point{straight, 0}},
		"smaller than a step":   {[]input{{1, 0, -1 << 62}}, point{0, -straight}},
		"along both axes":       {[]input{{1, 1, 1}}, point{diagonal, diagonal}},
		"the same again":        {[]input{{1, 1, 0}, {1, 1, 0}}, point{straight, 0}},
		"an older one":          {[]input{{5, 1, 0}, {4, 1, 0}}, point{straight, 0}},
		"of nobody":             {nil, point{}},
		"a number out of range": {[]input{{1<<32 - 1, 1, 0}, {0, 1, 0}}, point{straight, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := alone(t)
			for _, in := range test.in {
				w.steer("ada", in)
				w.steer("eve", in)
			}
			for tick := range uint64(10) {
				w.advance(tick + 1)
			}
			require.Equal(t, point{width/2 + test.want.X, height/2 + test.want.Y}, p.point)
		})
	}
}

// Who has stood still for long gets no more at once than who was late, and a flood
// leaves no long tail.
func TestNoCreditIsSavedUp(t *testing.T) {
	w, p := alone(t)
	w.advance(100)
	for seq := range uint32(1000) {
		w.steer("ada", input{Seq: seq + 1, DX: 1})
	}
	w.advance(101)
	require.Equal(t, width/2+burst*straight, p.X)
	w.advance(200)
	require.Equal(t, width/2+2*burst*straight, p.X)
}

func TestWalls(t *testing.T) {
	w, p := alone(t)
	for tick := range uint64(200) {
		w.steer("ada", input{Seq: uint32(tick) + 1, DX: -1, DY: 1})
		w.advance(tick + 1)
	}
	require.Equal(t, point{radius, height - radius}, p.point)
}

func TestGems(t *testing.T) {
	w, p := alone(t)
	w.gems = []point{{p.X + straight + radius + gemRadius, p.Y}}
	w.steer("ada", input{Seq: 1, DX: 1})
	w.advance(1)
	require.Zero(t, p.Score, "touching begins nearer")
	w.steer("ada", input{Seq: 2, DX: 1})
	w.advance(2)
	require.Equal(t, 1, p.Score)
	require.Len(t, w.gems, 1, "another one is there")
}

func TestJoinAndLeave(t *testing.T) {
	w := newWorld()
	require.Nil(t, w.advance(1), "nobody is there to be told")
	for i := range capacity {
		require.NoError(t, w.join(string(rune('a'+i)), "Ada"))
	}
	require.ErrorContains(t, w.join("late", "Bob"), "full")
	w.leave("a")
	require.NoError(t, w.join("late", "Bob"))
	var snapshot struct {
		Tick    uint64
		Players []struct{ ID, Name string }
		Gems    []point
	}
	require.NoError(t, json.Unmarshal(w.advance(2), &snapshot))
	require.Equal(t, uint64(2), snapshot.Tick)
	require.Len(t, snapshot.Players, capacity)
	require.Len(t, snapshot.Gems, gems)
	require.NotEqual(t, "a", snapshot.Players[0].ID)
}

// Time decides how far one gets, at whatever pace inputs come.
func TestTooFast(t *testing.T) {
	const seconds = 4 // of running to the right from the left wall
	for name, pace := range map[string]time.Duration{"honest": tick, "ten times as fast": tick / 10, "a flood": tick / 500} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, err := realtime.New("https://game.example", realtime.AuthenticatorFunc(func(*http.Request) (realtime.Identity, error) {
					return realtime.Identity{}, nil
				}), nobody{}, nil, nil)
				require.NoError(t, err)
				defer hub.Close()
				players, err := hub.NewGroup(&realtime.GroupOptions{Overflow: realtime.Latest})
				require.NoError(t, err)
				w, p := alone(t)
				p.X = radius
				ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second+tick/2)
				defer cancel()
				var flood sync.WaitGroup
				defer flood.Wait()
				flood.Go(func() {
					for seq := uint32(1); ctx.Err() == nil; seq++ {
						w.steer("ada", input{Seq: seq, DX: 1})
						time.Sleep(pace)
					}
				})
				require.ErrorIs(t, players.Tick(ctx, tick, w.advance), context.DeadlineExceeded)
				ticks := int(seconds * time.Second / tick)
				require.Equal(t, uint64(ticks), w.tick)
				require.Equal(t, radius+ticks*straight, p.X)
			})
		})
	}
}

// nobody is a [realtime.Sessions] without any.
type nobody struct{}

func (nobody) Alive(context.Context, string) (bool, error) { return false, nil }

func (nobody) EndedSince(context.Context, string) ([]string, string, error) { return nil, "none", nil }
