// What Go's net/http does, told nothing of proxies or certificates.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const site = "https://secure.example:8443"

func main() {
	// An empty map is how HTTP/2 is switched off.
	none := map[string]func(string, *tls.Conn) http.RoundTripper{}
	one := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSNextProto: none}
	for _, transport := range []http.RoundTripper{one, http.DefaultTransport} {
		client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
		version, statuses := "", ""
		ask := func(method, path string, body []byte) {
			request, err := http.NewRequest(method, site+path, bytes.NewReader(body))
			fail(err)
			answer, err := client.Do(request)
			fail(err)
			_, err = io.Copy(io.Discard, answer.Body)
			fail(err)
			answer.Body.Close()
			version = answer.Proto
			statuses += fmt.Sprint(" ", answer.StatusCode)
		}
		large := make([]byte, 13<<20)
		ask("GET", "/public/a", nil)
		ask("GET", "/secret", nil)
		ask("POST", "/public/up", large)
		ask("POST", "/secret", large)
		fmt.Println(version + statuses)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
