// lookups N: N lookups at once by Go's own resolver, which writes its queries from whatever thread is free.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
)

func main() {
	count, _ := strconv.Atoi(os.Args[1])
	var wait sync.WaitGroup
	var failed sync.Map
	for i := 0; i < count; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			name := []string{"web", "api", "log"}[i%3] + ".example.lab."
			if _, err := net.LookupHost(name); err != nil {
				failed.Store(i, err)
			}
		}(i)
	}
	wait.Wait()
	failed.Range(func(_, err any) bool { fmt.Println(err); os.Exit(1); return false })
}
