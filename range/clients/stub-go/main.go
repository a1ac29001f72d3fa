// A Go workload: the pure Go resolver (CGO_ENABLED=0). Commands as in stub.c, one per line on stdin.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
)

func lookUp(line string) {
	var found []string
	var err error
	r := &net.Resolver{PreferGo: true}
	ctx := context.Background()
	switch {
	case strings.HasPrefix(line, "ptr "):
		found, err = r.LookupAddr(ctx, line[4:])
	case strings.HasPrefix(line, "srv "):
		var list []*net.SRV
		_, list, err = r.LookupSRV(ctx, "", "", line[4:])
		for _, one := range list {
			found = append(found, fmt.Sprintf("%s:%d", one.Target, one.Port))
		}
	default:
		found, err = r.LookupHost(ctx, strings.TrimPrefix(line, "4 "))
	}
	if err != nil {
		found = append(found, "error: "+err.Error())
	}
	fmt.Printf("%s -> %s\n", line, strings.Join(found, " "))
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		go lookUp(lines.Text())
	}
}
