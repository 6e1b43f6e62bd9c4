package jwt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/gatewire/gatewire/jwt"
)

func Example() {
	sealingKeys, _, err := jwt.GenerateSealingKeys("2026") // in production ParseSealingKeys, of a secret
	if err != nil {
		log.Fatal(err)
	}
	ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), sealingKeys, nil)
	if err != nil {
		log.Fatal(err)
	}
	profile := jwt.AccessToken("https://app.example", "https://api.example")
	issuer, err := jwt.NewIssuer(profile, ring, 0)
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwt.NewVerifier[jwt.AccessClaims](profile, ring, nil)
	if err != nil {
		log.Fatal(err)
	}

	raw, _, err := issuer.Issue(context.Background(), jwt.AccessClaims{
		Subject: "user-1", SessionID: "session-1", ClientID: "web", Scope: []string{"orders:read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/orders", nil)
	request.Header.Set("Authorization", "Bearer "+raw)
	token, err := verifier.Authenticate(request)
	if err != nil {
		log.Fatal(err)
	}
	scopes, _ := token.Grants()
	fmt.Println(token.UserID(), token.SessionID(), scopes)

	_, err = verifier.Verify(context.Background(), raw+"x")
	fmt.Println(err, errors.Is(err, jwt.ErrMalformed))
	// Output:
	// user-1 session-1 [orders:read]
	// jwt: the token is refused true
}

// Claims of your own go out through Extra and come back in your type.
func ExampleNewVerifier() {
	type Claims struct {
		jwt.AccessClaims
		Tenant string `json:"tenant"`
	}
	sealingKeys, _, err := jwt.GenerateSealingKeys("2026")
	if err != nil {
		log.Fatal(err)
	}
	ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), sealingKeys, &jwt.RingOptions{Algorithm: "EdDSA"})
	if err != nil {
		log.Fatal(err)
	}
	profile := jwt.AccessToken("https://app.example", "https://api.example")
	issuer, err := jwt.NewIssuer(profile, ring, 0)
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwt.NewVerifier[Claims](profile, ring, nil)
	if err != nil {
		log.Fatal(err)
	}
	raw, _, err := issuer.Issue(context.Background(), jwt.AccessClaims{
		Subject: "user-1", ClientID: "web", Extra: map[string]string{"tenant": "acme"},
	})
	if err != nil {
		log.Fatal(err)
	}
	token, err := verifier.Verify(context.Background(), raw)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Claims().Tenant, token.Claims().Subject)
	// Output: acme user-1
}

// A service that only verifies, with the issuer's keys in a file.
func ExampleParseJWKS() {
	keys, err := jwt.ParseJWKS([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"2026","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)) // RFC 8037 appendix A.2
	if err != nil {
		log.Fatal(err)
	}
	source, err := jwt.StaticKeys(keys...)
	if err != nil {
		log.Fatal(err)
	}
	_, err = jwt.NewVerifier[jwt.AccessClaims](jwt.AccessToken("https://issuer.example", "https://api.example"), source, nil)
	fmt.Println(keys[0], err)
	// Output: EdDSA key "2026" <nil>
}

// remoteKeys are the keys of an issuer on another machine, fetched again every
// 15 minutes: a Ring publishes a key a day before it signs. While the issuer is
// down the last good ones serve for an hour; then requests are answered 503.
type remoteKeys struct {
	url string // from configuration, https outside of tests

	mu          sync.Mutex
	keys        jwt.KeySource
	next, stale time.Time
}

var remoteClient = &http.Client{Timeout: 5 * time.Second}

func (k *remoteKeys) Key(ctx context.Context, id string) (jwt.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
	if now := time.Now(); now.After(k.next) {
		k.next = now.Add(30 * time.Second) // after a failure
		var keys jwt.KeySource
		if keys, err = k.fetch(context.WithoutCancel(ctx)); err == nil {
			k.keys, k.next, k.stale = keys, now.Add(15*time.Minute), now.Add(time.Hour)
		}
	}
	if time.Now().After(k.stale) {
		return jwt.Key{}, errors.Join(errors.New("no keys of the issuer"), err)
	}
	return k.keys.Key(ctx, id)
}

func (k *remoteKeys) fetch(ctx context.Context) (jwt.KeySource, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := remoteClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	set, err := io.ReadAll(io.LimitReader(response.Body, 512<<10))
	if err != nil {
		return nil, err
	}
	keys, err := jwt.ParseJWKS(set)
	if err != nil {
		return nil, err
	}
	return jwt.StaticKeys(keys...)
}

// Another service verifies what the ring of this one signs, by its JWKS.
func ExampleKeySource() {
	sealingKeys, _, err := jwt.GenerateSealingKeys("2026")
	if err != nil {
		log.Fatal(err)
	}
	ring, err := jwt.NewRing(jwt.NewMemoryKeyStore(), sealingKeys, nil)
	if err != nil {
		log.Fatal(err)
	}
	profile := jwt.AccessToken("https://app.example", "https://api.example")
	issuer, err := jwt.NewIssuer(profile, ring, 0)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(ring.Handler())
	defer server.Close()
	raw, _, err := issuer.Issue(context.Background(), jwt.AccessClaims{Subject: "user-1", ClientID: "web"})
	if err != nil {
		log.Fatal(err)
	}

	// In the other service:
	verifier, err := jwt.NewVerifier[jwt.AccessClaims](profile, &remoteKeys{url: server.URL}, nil)
	if err != nil {
		log.Fatal(err)
	}
	token, err := verifier.Verify(context.Background(), raw)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.UserID())
	// Output: user-1
}
