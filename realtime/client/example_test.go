package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatewire/gatewire/realtime/client"
)

func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("GET /client/realtime.js", client.Handler())

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/client/realtime.js", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 text/javascript; charset=utf-8
}
