module github.com/gatewire/gatewire/internal/bench

go 1.26.0

replace github.com/gatewire/gatewire => ../..

require (
	github.com/alexedwards/scs/v2 v2.9.0
	github.com/gatewire/gatewire v0.0.0
	github.com/gorilla/sessions v1.4.0
)

require github.com/gorilla/securecookie v1.1.2 // indirect
