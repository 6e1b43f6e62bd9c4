// Package chrome opens pages in a headless Chromium, for tests of what people see.
package chrome

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
)

// Tool finds a program by the path in env, else by one of names in PATH. Where
// there is none the test is skipped, or fails under make test.
func Tool(t *testing.T, env string, names ...string) string {
	t.Helper()
	if env != "" && os.Getenv(env) != "" {
		names = []string{os.Getenv(env)}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	child.Require(t, child.Missing("not installed: "+strings.Join(names, " or ")))
	return ""
}

// Chrome is a headless Chromium with a profile of its own.
type Chrome struct{ ctx context.Context }

// Start starts one; it ends with the test.
func Start(t *testing.T) *Chrome {
	t.Helper()
	path := Tool(t, "CHROME", "chromium", "chromium-browser", "google-chrome")
	allocator, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.DisableGPU,
		chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("mute-audio", true),
		chromedp.WindowSize(1280, 800),
		chromedp.WSURLReadTimeout(60*time.Second), // the machine may be busy
	)
	t.Cleanup(cancel)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	require.NoError(t, chromedp.Do(ctx), "the browser starts")
	return &Chrome{ctx: ctx}
}

// Window is one page. Windows of [Chrome.Open] share neither cookies nor storage.
type Window struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // console errors and warnings, exceptions, failed requests
}

// Open opens a window on url, which closes with the test.
func (c *Chrome) Open(t *testing.T, url string) *Window {
	t.Helper()
	return open(c.ctx, t, url, chromedp.WithNewBrowserContext())
}

// Another opens a second window beside w, with its cookies.
func (w *Window) Another(url string) *Window {
	w.t.Helper()
	return open(w.ctx, w.t, url)
}

func open(parent context.Context, t *testing.T, url string, o ...chromedp.ContextOption) *Window {
	t.Helper()
	w := &Window{t: t}
	ctx, cancel := chromedp.NewContext(parent, append(o, chromedp.WithListener(w.watch))...)
	t.Cleanup(cancel)
	w.ctx = ctx
	require.NoError(t, chromedp.Do(ctx)) // without a time limit: that of the first call is the window's
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	w.Do(chromedp.Navigate(url))
	return w
}

// Context is what chromedp's functions take to act on the window.
func (w *Window) Context() context.Context { return w.ctx }

// watch notes whatever a person with the console open would call a fault.
func (w *Window) watch(event any) {
	var problem string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			for _, arg := range e.Args {
				problem += fmt.Sprintf("console %s: %s%s ", e.Type, arg.Value, arg.Description)
			}
		}
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			problem += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			problem = fmt.Sprintf("log %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			problem = fmt.Sprintf("response %d: %s", e.Response.Status, e.Response.URL)
		}
	case *network.EventLoadingFailed:
		problem = fmt.Sprintf("request failed: %s %s", e.Type, e.ErrorText)
	}
	if problem == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, problem)
}

// Clean fails the test for any problem seen so far that expected doesn't
// match, and forgets them.
func (w *Window) Clean(expected ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
problems:
	for _, problem := range w.problems {
		for _, pattern := range expected {
			if regexp.MustCompile(pattern).MatchString(problem) {
				continue problems
			}
		}
		w.t.Errorf("in the browser: %s", problem)
	}
	w.problems = nil
}

// Do runs actions, all of them within a minute.
func (w *Window) Do(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.failed()
		require.NoError(w.t, err)
	}
}

// JS evaluates an expression, waiting for it when it is a promise, into out
// (nil: not looked at).
func (w *Window) JS(expression string, out any) {
	w.t.Helper()
	require.NoError(w.t, w.evaluate(expression, out), "%s", expression)
}

func (w *Window) evaluate(expression string, out any) error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(value, out)
}

// Click clicks on an element, once it is visible.
func (w *Window) Click(selector string) {
	w.t.Helper()
	w.Do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Type types into an element, as a person does.
func (w *Window) Type(selector, text string) {
	w.t.Helper()
	w.Do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Text is what an element says.
func (w *Window) Text(selector string) string {
	w.t.Helper()
	name, err := json.Marshal(selector)
	require.NoError(w.t, err)
	var text string
	w.JS("document.querySelector("+string(name)+").innerText", &text)
	return text
}

// Resize makes the window this large, in CSS pixels.
func (w *Window) Resize(width, height int64) {
	w.t.Helper()
	w.Do(chromedp.EmulateViewport(width, height))
}

// Scheme sets what the person prefers: "light" or "dark".
func (w *Window) Scheme(scheme string) {
	w.t.Helper()
	_, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(w.t, err)
}

// Until waits for a JavaScript condition, which is no promise, and returns how
// long it took.
func (w *Window) Until(limit time.Duration, condition string) time.Duration {
	w.t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		var met bool
		err := w.evaluate("!!("+condition+")", &met)
		took := time.Since(begin)
		switch {
		case met:
			return took
		case err != nil && !betweenPages(err):
			require.NoError(w.t, err, "%s", condition)
		case took > limit:
			w.failed()
			require.Fail(w.t, "waited in vain", "%v for %s (last: %v)", limit, condition, err)
		}
	}
}

// betweenPages says that an expression found no page to run in: the window
// was on its way from one to the next. The next page may meet the condition.
func betweenPages(err error) bool {
	for _, what := range []string{
		"Inspected target navigated or closed",
		"Execution context was destroyed",
		"Cannot find context with specified id",
		"Cannot find default execution context",
	} {
		if strings.Contains(err.Error(), what) {
			return true
		}
	}
	return false
}

// Shot saves a picture of the window in $SCREENSHOTS, where that is set.
func (w *Window) Shot(name string) {
	w.t.Helper()
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		require.NoError(w.t, os.MkdirAll(dir, 0o755))
		w.save(filepath.Join(dir, name+".png"))
	}
}

// failed keeps a picture of what a failed step left, and says where.
func (w *Window) failed() {
	w.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = os.TempDir()
	}
	name := filepath.Join(dir, "failed-"+strings.ReplaceAll(w.t.Name(), "/", "-")+".png")
	w.save(name)
	w.t.Logf("the window as it was: %s", name)
}

func (w *Window) save(name string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	const still = `Promise.allSettled(document.getAnimations().filter((a) => a.effect.getComputedTiming().iterations < Infinity).map((a) => a.finished)).then(() => 0)`
	_, _ = chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void](still, chromedp.EvalAwaitPromise))
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		w.t.Logf("no picture %s: %v", name, err)
		return
	}
	require.NoError(w.t, os.WriteFile(name, png, 0o644))
}
