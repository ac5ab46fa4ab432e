// Connect by name with Go's own resolver (built with CGO_ENABLED=0): connect HOST:PORT.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	conn, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("connected to", conn.RemoteAddr())
	conn.Close()
}
