package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxBody bounds every answer of a provider, after decompression.
const maxBody = 1 << 20

var (
	errTooLarge = fmt.Errorf("the answer is larger than %d bytes", maxBody)
	errRedirect = errors.New("the answer is a redirect, which is not followed")
)

// guardedClient lays our limits over the host's client: capped bodies and no
// redirects, which would carry codes and secrets elsewhere, or our requests to
// somebody's internal network. Time-outs come by the context of each request.
func guardedClient(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	base := c.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	return &http.Client{
		Transport:     guard{base},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
}

type guard struct{ base http.RoundTripper }

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxBody {
		_ = resp.Body.Close()
		return nil, errTooLarge
	}
	resp.Body = &cappedBody{ReadCloser: resp.Body, left: maxBody}
	return resp, nil
}

type cappedBody struct {
	io.ReadCloser
	left int
}

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	p = p[:min(len(p), b.left+1)] // one more than allowed tells the end from the excess
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return n + b.left, errTooLarge
	}
	return n, err
}

// getBody fetches url, with a bearer token if there is one. what names the
// thing in errors.
func getBody(ctx context.Context, client *http.Client, what, url, bearer string) ([]byte, *http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, badAnswer("%s: %w", what, err)
	}
	req.Header.Set("Accept", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, requestFailure(ctx, what, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, requestFailure(ctx, what, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, statusFailure(what, resp.StatusCode)
	}
	return body, resp, nil
}

func requestFailure(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errRedirect):
		return badAnswer("%s: %w", what, err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return timedOut("%s: no answer in time", what)
	}
	return unavailable("%s: %w", what, err)
}

func statusFailure(what string, status int) error {
	switch {
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return unavailable("%s: the provider answered %d", what, status)
	case status == http.StatusGatewayTimeout:
		return timedOut("%s: the provider answered %d", what, status)
	}
	return badAnswer("%s: the provider answered %d", what, status)
}
