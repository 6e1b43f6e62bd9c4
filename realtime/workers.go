package realtime

import (
	"sync"
	"time"
)

// workers run commands. A command needs a deeper stack than reading does: run by
// the reader, it would leave every idle connection with one, and run by a
// goroutine of its own, that stack is grown anew each time. A few that wait for
// work keep theirs. A lively connection's reader runs them after all, as two changes
// of goroutine cost more than many a command; another takes its place afterwards.
type workers struct {
	mu   sync.Mutex
	idle []*worker // the one that worked last is taken first
	over bool
}

// idleWorkers is how many wait for work; more than that end with it.
const idleWorkers = 64

// worker does one job at a time.
type worker struct {
	jobs chan *conn    // closed to end it
	done chan struct{} // a job is done; closed: the worker is gone
	task task
	came parting // of the job
}

// task is what handling a message needs. It is used again.
type task struct {
	message []byte
	command command
	rpc     rpcRequest
	publish publishRequest
	send    dataRequest
}

// A connection is lively from so many messages on of which each was handled soon
// after the one before.
const (
	soon   = 100 * time.Millisecond
	lively = 8
)

var tasks = sync.Pool{New: func() any { return new(task) }}

// employ has a worker handle a message of c or, without one, read and handle what
// has come. It returns when that is done.
func (h *Hub) employ(c *conn, message []byte) parting {
	if c.streak >= lively {
		c.deep = true
		t := tasks.Get().(*task)
		t.message = message
		p := c.serve(t)
		*t = task{}
		tasks.Put(t)
		return p
	}
	w := h.workers.take()
	if w == nil {
		w = &worker{jobs: make(chan *conn, 1), done: make(chan struct{}, 1)}
		h.wg.Go(w.run) // c's reader keeps the group from being waited for
	}
	w.task.message = message
	w.jobs <- c
	if _, lives := <-w.done; !lives {
		c.disconnect(closeInternal)
		return parting{}
	}
	p := w.came
	h.workers.put(w)
	return p
}

func (w *worker) run() {
	// A handler may end the goroutine: runtime.Goexit, as FailNow of a test does.
	defer close(w.done)
	for c := range w.jobs {
		w.came = c.serve(&w.task)
		w.task = task{} // it may wait for long
		w.done <- struct{}{}
	}
}

func (p *workers) take() *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	w := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return w
}

func (p *workers) put(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || len(p.idle) == idleWorkers {
		close(w.jobs)
		return
	}
	p.idle = append(p.idle, w)
}

// end ends those that wait. Those at work end with it.
func (p *workers) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for _, w := range p.idle {
		close(w.jobs)
	}
	p.idle = nil
}
