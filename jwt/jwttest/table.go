package jwttest

import (
	"crypto/elliptic"
	"fmt"
	"math/big"
	"strings"
	"time"
)

const es = "ES256"

func (k *kit) accepted() []Case {
	esHeader := header(es, "es")
	return []Case{
		{ID: "J1", Name: "good ES256", Token: k.good(), Accept: true},
		{ID: "J3", Name: "good EdDSA", Token: k.signEd(input(header("EdDSA", "ed"), k.claims())), Accept: true},
		{ID: "J3", Name: "good Ed25519 of RFC 9864", Token: k.signEd(input(header("Ed25519", "ed"), k.claims())), Accept: true},
		{ID: "J3", Name: "good RS256", Token: k.signRS(k.rs, input(header("RS256", "rs"), k.claims())), Accept: true},
		{ID: "J4", Name: "good with a header that is not understood", Token: k.token(header(es, "es", "x", `{"y":[1]}`), k.claims()), Accept: true},
		{ID: "J2", Name: "good with white space", Token: k.token(" \n"+esHeader+"\t", "\r\n "+k.claims()+" "), Accept: true},
		{ID: "J2", Name: "good with escapes", Token: k.token(strings.Replace(esHeader, `"es"`, `"\u0065s"`, 1), k.claims("x", `"\ud83d\ude00\n"`)), Accept: true},
		{ID: "J6", Name: "good with aud in an array", Token: k.with("aud", `["`+audience+`"]`), Accept: true},
		{ID: "J5", Name: "good with nbf", Token: k.with("nbf", k.at(-time.Second)), Accept: true},
		{ID: "J7", Name: "good application/at+jwt", Token: k.token(header(es, "es", "typ", `"application/at+jwt"`), k.claims()), Accept: true},
	}
}

// forms are J1: what is not the compact form.
func (k *kit) forms() []Case {
	good := k.good()
	parts := strings.Split(good, ".")
	cases := []Case{
		{Name: "empty", Token: ""},
		{Name: "two dots alone", Token: ".."},
		{Name: "two segments", Token: parts[0] + "." + parts[1]},
		{Name: "four segments", Token: good + "." + parts[2]},
		{Name: "no header", Token: "." + parts[1] + "." + parts[2]},
		{Name: "no claims", Token: parts[0] + ".." + parts[2]},
		{Name: "no signature", Token: parts[0] + "." + parts[1] + "."},
		{Name: "Bearer in front", Token: "Bearer " + good},
		{Name: "padding", Token: good + "=="},
		{Name: "space in front", Token: " " + good},
		{Name: "space behind", Token: good + " "},
		{Name: "newline behind", Token: good + "\n"},
		{Name: "newline inside", Token: parts[0][:8] + "\n" + parts[0][8:] + "." + parts[1] + "." + parts[2]},
		{Name: "carriage return in the signature", Token: good[:len(good)-4] + "\r\n" + good[len(good)-4:]},
		{Name: "NUL", Token: good + "\x00"},
		{Name: "not ASCII", Token: good + "é"},
		{Name: "percent encoded dot", Token: strings.Replace(good, ".", "%2E", 1)},
		{Name: "stray bits in the signature", Token: strayBits(good)},
		{Name: "padding signed", Token: k.signES(k.es, parts[0]+"=."+parts[1]), Genuine: true},
		{Name: "header of 1100 bytes", Token: k.token(header(es, "es", "x", quote(strings.Repeat("x", 1100))), k.claims()), Genuine: true},
		{Name: "standard alphabet", Token: k.standardAlphabet(), Genuine: true},
	}
	return named("J1", cases)
}

// strayBits changes bits of the last character that no byte comes from.
func strayBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last|1])
}

func (k *kit) standardAlphabet() string {
	in := input(header(es, "es"), k.claims("x", `"???>>>~~~"`))
	head, tail, _ := strings.Cut(in, ".")
	return k.signES(k.es, head+"."+strings.NewReplacer("-", "+", "_", "/").Replace(tail))
}

// texts are J2: header and claims that parsers read differently. All are signed.
func (k *kit) texts() []Case {
	head, body := header(es, "es"), k.claims()
	inBody := func(name, member string) Case {
		return Case{Name: name, Token: k.token(head, body[:len(body)-1]+","+member+"}")}
	}
	inHead := func(name, member string) Case {
		return Case{Name: name, Token: k.token(head[:len(head)-1]+","+member+"}", body)}
	}
	nested := func(open, shut string, n int) string {
		return `"x":` + strings.Repeat(open, n) + "1" + strings.Repeat(shut, n)
	}
	cases := []Case{
		inBody("sub twice", `"sub":"admin"`),
		inBody("sub twice, escaped", `"\u0073ub":"admin"`),
		inBody("exp twice", `"exp":`+k.at(10*time.Minute)),
		inBody("unknown twice", `"x":1,"x":1`),
		inBody("twice inside", `"x":[{"y":1,"y":2}]`),
		inBody("SUB beside sub", `"SUB":"admin"`),
		inBody("Exp beside exp", `"Exp":1`),
		inBody("ſub beside sub", `"ſub":"admin"`),
		inHead("alg twice", `"alg":"ES256"`),
		inHead("kid twice", `"kid":"ed"`),
		inHead("ALG beside alg", `"ALG":"none"`),
		inBody("not UTF-8", "\"x\":\"\xff\""),
		inBody("overlong UTF-8", "\"x\":\"\xc0\xaf\""),
		inBody("surrogate in UTF-8", "\"x\":\"\xed\xa0\x80\""),
		inBody("not UTF-8 in a name", "\"\xff\":1"),
		inBody("lone high surrogate", `"x":"\ud83d"`),
		inBody("lone low surrogate", `"x":"\ude00"`),
		inBody("high surrogate, other escape", `"x":"\ud83d\n"`),
		inBody("two high surrogates", `"x":"\ud83d\ud83d"`),
		inBody("two low surrogates", `"x":"\ude00\ude00"`),
		inBody("surrogates in the wrong order", `"x":"\ude00\ud83d"`),
		inHead("not UTF-8 in the header", "\"x\":\"\xff\""),
		inBody("17 arrays", nested("[", "]", 16)),
		inBody("17 objects", nested(`{"x":`, "}", 16)),
		inHead("17 arrays in the header", nested("[", "]", 16)),
		inBody("bad escape", `"x":"\x41"`),
		inBody("control character", "\"x\":\"a\nb\""),
		inBody("leading zero", `"x":01`),
		inBody("plus sign", `"x":+1`),
		inBody("hex number", `"x":0x1`),
		inBody("bare point", `"x":1.`),
		inBody("NaN", `"x":NaN`),
		inBody("unquoted name", `x:1`),
		inBody("single quotes", `'x':1`),
		inBody("comment", `/* */"x":1`),
		inBody("trailing comma", `"x":1,`),
		inBody("comma in an array", `"x":[1,]`),
		{Name: "bytes after the claims", Token: k.token(head, body+"x")},
		{Name: "second object after the claims", Token: k.token(head, body+body)},
		{Name: "NUL after the claims", Token: k.token(head, body+"\x00")},
		{Name: "bytes after the header", Token: k.token(head+"{}", body)},
		{Name: "byte order mark", Token: k.token(head, "\ufeff"+body)},
		{Name: "claims cut", Token: k.token(head, body[:len(body)-1])},
		{Name: "claims null", Token: k.token(head, "null")},
		{Name: "claims an array", Token: k.token(head, "["+body+"]")},
		{Name: "claims a string", Token: k.token(head, quote(body))},
		{Name: "claims empty object", Token: k.token(head, "{}")},
		{Name: "header an array", Token: k.token("["+head+"]", body)},
		{Name: "header null", Token: k.token("null", body)},
		{Name: "typ a number", Token: k.token(header(es, "es", "typ", "1"), body)},
		{Name: "alg an array", Token: k.token(header(es, "es", "alg", `["ES256"]`), body)},
		{Name: "scope an array", Token: k.with("scope", `["a"]`)},
		{Name: "roles a string", Token: k.with("roles", `"admin"`)},
		{Name: "roles of numbers", Token: k.with("roles", `[1]`)},
		{Name: "sid a number", Token: k.with("sid", "1")},
		{Name: "client_id null", Token: k.with("client_id", "null")},
	}
	return signed(named("J2", cases))
}

// algorithms are J3: what is signed by another algorithm than the key's.
func (k *kit) algorithms() []Case {
	var cases []Case
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", "", "HS256", "ES384", "RS256", "EdDSA", "es256", "FOO"} {
		in := input(header(alg, "es"), k.claims())
		cases = append(cases,
			Case{Name: fmt.Sprintf("alg %q with the key's signature", alg), Token: k.signES(k.es, in), Genuine: true},
			Case{Name: fmt.Sprintf("alg %q without a signature", alg), Token: in + "."},
			Case{Name: fmt.Sprintf("alg %q with a signature of nothing", alg), Token: in + ".AA"})
	}
	for _, secret := range []struct {
		name, kid string
		bytes     []byte
	}{
		{"PEM", "rs", pemText(&k.rs.PublicKey)}, {"PEM without newline", "rs", []byte(strings.TrimSpace(string(pemText(&k.rs.PublicKey))))},
		{"DER", "rs", der(&k.rs.PublicKey)}, {"modulus", "rs", k.rs.N.Bytes()},
		{"JWK", "rs", []byte(rsaJWK("rs", k.rs.N, 65537, `,"alg":"RS256","use":"sig"`))},
		{"PEM", "es", pemText(&k.es.PublicKey)}, {"DER", "es", der(&k.es.PublicKey)},
		{"JWK", "es", []byte(ecJWK("es", "P-256", &k.es.PublicKey, `,"alg":"ES256","use":"sig"`))},
		{"JWKS", "es", k.jwks()}, {"raw Ed25519", "ed", der(k.ed.Public())[12:]}, {"nothing", "es", nil},
	} {
		cases = append(cases, Case{Name: "HMAC with the public key " + secret.kid + " as " + secret.name, Token: mac(secret.bytes, input(header("HS256", secret.kid), k.claims()))})
	}
	cases = append(cases,
		Case{Name: "PS256 with an RS256 key", Token: k.signPS(input(header("PS256", "rs"), k.claims()))},
		Case{Name: "PS256 called RS256", Token: k.signPS(input(header("RS256", "rs"), k.claims()))},
		Case{Name: "RS256 called PS256", Token: k.signRS(k.rs, input(header("PS256", "rs"), k.claims())), Genuine: true},
		Case{Name: "P-384 key called ES256", Token: k.signES(k.p384, input(header(es, "p384"), k.claims()))},
		Case{Name: "key of another algorithm", Token: k.signES(k.es, input(header(es, "ed"), k.claims()))},
		Case{Name: "alg missing", Token: k.token(header(es, "es", "alg", ""), k.claims()), Genuine: true},
		Case{Name: "alg null", Token: k.token(header(es, "es", "alg", "null"), k.claims()), Genuine: true},
	)
	return named("J3", cases)
}

// headers are J4: key ids and headers that choose keys or change the meaning.
func (k *kit) headers(lure string) []Case {
	theirs := func(name string, h string) Case {
		return Case{Name: name, Token: k.signES(k.theirs, input(h, k.claims()))}
	}
	jwk := ecJWK("es", "P-256", &k.theirs.PublicKey, "")
	cases := []Case{
		theirs("another issuer's key under our id", header(es, "es")),
		theirs("another issuer's key under its id", header(es, "theirs")),
		theirs("encryption key", header(es, "enc")),
		theirs("jwk", header(es, "es", "jwk", jwk)),
		theirs("jwk without kid", header(es, "es", "kid", "", "jwk", jwk)),
		theirs("jku", header(es, "theirs", "jku", quote(lure))),
		theirs("x5u", header(es, "theirs", "x5u", quote(lure))),
		theirs("x5c", header(es, "es", "x5c", `["MIIB"]`)),
	}
	for _, kid := range [][2]string{
		{"unknown", `"unknown"`}, {"empty", `""`}, {"case", `"ES"`}, {"path", `"../../../../dev/null"`}, {"SQL", `"' OR 1=1 --"`},
		{"newline", `"es\nlevel=ERROR msg=forged"`}, {"NUL", `"es\u0000"`}, {"URL", quote(lure)},
		{"number", "1"}, {"null", "null"}, {"array", `["es"]`}, {"object", `{"es":1}`}, {"true", "true"},
		{"10 kB", quote(strings.Repeat("k", 10<<10))}, {"900 bytes", quote(strings.Repeat("k", 900))},
	} {
		cases = append(cases, Case{Name: "kid " + kid[0], Token: k.token(header(es, "es", "kid", kid[1]), k.claims()), Genuine: true})
	}
	cases = append(cases, Case{Name: "kid missing with several keys", Token: k.token(header(es, "es", "kid", ""), k.claims()), Genuine: true})
	for _, h := range [][2]string{
		{"crit", `["exp"]`}, {"crit", `["x"]`}, {"crit", "[]"}, {"crit", `["alg"]`}, {"crit", `"x"`}, {"crit", "null"}, {"b64", "true"}, {"b64", "false"},
		{"zip", `"DEF"`}, {"jku", quote(lure)}, {"x5u", quote(lure)}, {"jwk", jwk}, {"x5c", "[]"},
	} {
		cases = append(cases, Case{Name: h[0] + " " + h[1][:min(8, len(h[1]))], Token: k.token(header(es, "es", h[0], h[1]), k.claims()), Genuine: true})
	}
	cases = append(cases, Case{Name: "b64 false and critical", Token: k.token(header(es, "es", "b64", "false", "crit", `["b64"]`), k.claims()), Genuine: true})
	return named("J4", cases)
}

// times are J5. All are signed. Edges of the skew depend on the verifier; three
// minutes is past what any may allow.
func (k *kit) times() []Case {
	var cases []Case
	for _, name := range []string{"exp", "iat", "nbf", "auth_time"} {
		for _, v := range []string{"null", "true", `"` + k.at(time.Minute) + `"`, `"2099-01-01T00:00:00Z"`, "[]", "{}", "0", "-1", "-0", "1e300", "1e10", "0.5",
			k.at(0) + ".5", k.at(0) + ".0", "99999999999999999999", "9223372036854775807", "9223372036854775808", "18446744073709551616", "253402300800"} {
			cases = append(cases, Case{Name: name + " " + v, Token: k.with(name, v)})
		}
	}
	cases = append(cases,
		Case{Name: "exp missing", Token: k.with("exp", "")},
		Case{Name: "iat missing", Token: k.with("iat", "")},
		Case{Name: "expired", Token: k.with("iat", k.at(-10*time.Minute), "exp", k.at(-3*time.Minute))},
		Case{Name: "issued tomorrow", Token: k.with("iat", k.at(24*time.Hour), "exp", k.at(24*time.Hour+time.Minute))},
		Case{Name: "issued in three minutes", Token: k.with("iat", k.at(3*time.Minute), "exp", k.at(5*time.Minute))},
		Case{Name: "not before three minutes", Token: k.with("nbf", k.at(3*time.Minute))},
		Case{Name: "authenticated in three minutes", Token: k.with("auth_time", k.at(3*time.Minute))},
		Case{Name: "expires before it was issued", Token: k.with("iat", k.at(30*time.Second), "exp", k.at(20*time.Second))},
		Case{Name: "lives for 16 minutes", Token: k.with("exp", k.at(16*time.Minute))},
		Case{Name: "lives for a year", Token: k.with("exp", k.at(365*24*time.Hour))},
		Case{Name: "milliseconds", Token: k.with("exp", k.at(0)+"000")},
	)
	return signed(named("J5", cases))
}

// parties are J6: who signed, for whom, about whom. All are signed.
func (k *kit) parties() []Case {
	var cases []Case
	add := func(name string, values ...string) {
		for _, v := range values {
			title := name + " " + v
			if v == "" {
				title = name + " missing"
			}
			cases = append(cases, Case{Name: title, Token: k.with(name, v)})
		}
	}
	add("iss", "", "null", `""`, "1", `"`+issuer+`/"`, `"`+strings.ToUpper(issuer)+`"`, `"HTTPS://issuer.example"`, `"`+issuer+`\u0000"`, `" `+issuer+`"`, `["`+issuer+`"]`, `"https://issuer.example.evil"`)
	add("aud", "", "null", `""`, "1", "[]", `[""]`, "[1]", "[null]", "{}", `"`+audience+`/"`, `"`+strings.ToUpper(audience)+`"`, `"other"`,
		`["other"]`, `["`+audience+`","https://evil.example"]`, `["`+audience+`",1]`, `[["`+audience+`"]]`, `"`+audience+` other"`)
	add("sub", "", "null", `""`, "1", "true", `["user-1"]`, "{}")
	add("jti", "", "null", `""`, "1")
	return signed(named("J6", cases))
}

// types are J7: genuine tokens of the same issuer that are no access tokens.
func (k *kit) types() []Case {
	var cases []Case
	for _, typ := range []string{"", "null", `""`, `"JWT"`, `"jwt"`, `"at"`, `"at+jwt "`, `"at+jwt; x=y"`, `"application/"`, `"application/application/at+jwt"`, `"text/at+jwt"`,
		`"logout+jwt"`, `"refresh+jwt"`, `"dpop+jwt"`, `"secevent+jwt"`, `"id+jwt"`, `["at+jwt"]`} {
		name := "typ " + typ
		if typ == "" {
			name = "typ missing"
		}
		cases = append(cases, Case{Name: name, Token: k.token(header(es, "es", "typ", typ), k.claims())})
	}
	cases = append(cases,
		Case{Name: "an ID token", Token: k.token(header(es, "es", "typ", `"JWT"`), k.claims("nonce", `"n"`, "at_hash", `"h"`, "azp", quote(audience)))},
		Case{Name: "a logout token", Token: k.token(header(es, "es", "typ", `"logout+jwt"`), k.claims("events", `{"http://schemas.openid.net/event/backchannel-logout":{}}`))},
	)
	return signed(named("J7", cases))
}

// signatures are J8: encodings and numbers that careless verifiers accept.
func (k *kit) signatures() []Case {
	in := input(header(es, "es"), k.claims())
	n := elliptic.P256().Params().N
	r, s := k.rawES(k.es, in)
	raw := func(r, s *big.Int) string {
		return in + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	}
	fixed := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	flipped := append([]byte(nil), fixed...)
	flipped[40] ^= 1
	zero, one := new(big.Int), big.NewInt(1)
	ed := input(header("EdDSA", "ed"), k.claims())
	rs := input(header("RS256", "rs"), k.claims())
	good := k.good()
	goodParts := strings.Split(good, ".")
	cases := []Case{
		{Name: "r and s zero", Token: raw(zero, zero)},
		{Name: "r zero", Token: raw(zero, s)},
		{Name: "s zero", Token: raw(r, zero)},
		{Name: "r and s one", Token: raw(one, one)},
		{Name: "r the order", Token: raw(n, s)},
		{Name: "s the order", Token: raw(r, n)},
		{Name: "r and s the order", Token: raw(n, n)},
		{Name: "r and s swapped", Token: raw(s, r)},
		{Name: "DER", Token: in + "." + b64(k.derES(in))},
		{Name: "a byte short", Token: in + "." + b64(fixed[:63])},
		{Name: "a byte long", Token: in + "." + b64(append(fixed[:64:64], 0))},
		{Name: "a zero between r and s", Token: in + "." + b64(append(append(fixed[:32:32], 0), fixed[32:]...))},
		{Name: "80 bytes", Token: in + "." + b64(append(make([]byte, 16), fixed...))},
		{Name: "doubled", Token: in + "." + b64(append(fixed[:64:64], fixed...))},
		{Name: "a bit flipped", Token: in + "." + b64(flipped)},
		{Name: "of other claims", Token: goodParts[0] + "." + b64([]byte(k.claims("sub", `"admin"`))) + "." + goodParts[2]},
		{Name: "of another header", Token: b64([]byte(header(es, "es", "x", "1"))) + "." + goodParts[1] + "." + goodParts[2]},
		{Name: "Ed25519 all zero", Token: ed + "." + b64(make([]byte, 64))},
		{Name: "Ed25519 empty", Token: ed + "." + b64([]byte{0})},
		{Name: "RSA all zero", Token: rs + "." + b64(make([]byte, 256))},
		{Name: "RSA one", Token: rs + "." + b64(append(make([]byte, 255), 1))},
		{Name: "RSA of 1024 bits", Token: k.signRS(k.weak, input(header("RS256", "weak"), k.claims()))},
		{Name: "RSA exponent 1", Token: k.unpadded(input(header("RS256", "e1"), k.claims()))},
	}
	return named("J8", cases)
}

// floods are J9: what must be refused before any work.
func (k *kit) floods() []Case {
	good := k.good()
	parts := strings.Split(good, ".")
	head := header(es, "es")
	flat := `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`
	cases := []Case{
		{Name: "JWE", Token: b64([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2000000000,"p2s":"AAAA","zip":"DEF"}`)) + ".AAAA.AAAA.AAAA.AAAA"},
		{Name: "five empty segments", Token: "...."},
		{Name: "nested JWS", Token: k.token(header(es, "es", "cty", `"JWT"`), good), Genuine: true},
		{Name: "flattened JSON serialisation", Token: flat},
		{Name: "general JSON serialisation", Token: `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`},
		{Name: "5 MB", Token: k.with("x", quote(strings.Repeat("x", 5<<20))), Genuine: true},
		{Name: "9000 levels", Token: k.with("x", strings.Repeat("[", 9000)+strings.Repeat("]", 9000)), Genuine: true},
		{Name: "2000 levels", Token: k.with("x", strings.Repeat("[", 2000)+strings.Repeat("]", 2000)), Genuine: true},
		{Name: "9000 levels in the header", Token: k.token(head[:len(head)-1]+`,"x":`+strings.Repeat("[", 9000), k.claims())},
		{Name: "8 MiB of dots", Token: strings.Repeat(".", 8<<20)},
		{Name: "8 MiB of dots after Bearer", Token: "Bearer " + strings.Repeat(".", 8<<20)},
		{Name: "8 MiB of letters", Token: strings.Repeat("A", 8<<20)},
		{Name: "5 MB signature", Token: parts[0] + "." + parts[1] + "." + strings.Repeat("A", 5<<20)},
	}
	return named("J9", cases)
}

func named(id string, cases []Case) []Case {
	for i := range cases {
		cases[i].ID = id
	}
	return cases
}

func signed(cases []Case) []Case {
	for i := range cases {
		cases[i].Genuine = true
	}
	return cases
}
