// Resolves each name on the command line by Go's own resolver: one LookupIPAddr call, A and AAAA together.
//
//	lookup [-n TIMES] [-i MILLISECONDS] NAME...
//
// Built without cgo, so that libc has no part in it. Prints one line per lookup and exits as getaddrinfo.c does.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"time"
)

func resolve(name string) bool {
	resolver := net.Resolver{PreferGo: true}
	start := time.Now()
	addresses, err := resolver.LookupIPAddr(context.Background(), name)
	fmt.Printf("%s  %.1f ms ", name, float64(time.Since(start).Microseconds())/1e3)
	if err != nil {
		fmt.Printf(" %v\n", err)
		return false
	}
	for _, address := range addresses {
		fmt.Printf(" %s", address.String())
	}
	fmt.Println()
	return true
}

func main() {
	times := flag.Int("n", 1, "how often to go over all names")
	interval := flag.Int("i", 0, "milliseconds between two rounds")
	flag.Parse()
	if flag.NArg() == 0 || *times < 1 || *interval < 0 {
		flag.Usage()
		os.Exit(2)
	}
	status := 0
	for round := 0; round < *times; round++ {
		if round > 0 {
			time.Sleep(time.Duration(*interval) * time.Millisecond)
		}
		for _, name := range flag.Args() {
			if !resolve(name) {
				status = 1
			}
		}
	}
	os.Exit(status)
}
