package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatewire/gatewire/realtime/client"
)

func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("GET /client/", client.Handler())

	for _, name := range []string{client.Name, client.Types} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/client/"+name, nil))
		fmt.Println(name, w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// realtime.js 200 text/javascript; charset=utf-8
	// realtime.d.ts 200 text/plain; charset=utf-8
}
