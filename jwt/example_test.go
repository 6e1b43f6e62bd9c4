package jwt_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

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
