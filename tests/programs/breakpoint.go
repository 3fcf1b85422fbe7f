// What a debugger stops: `double` is called once.
package main

import "fmt"

//go:noinline
func double(n int) int {
	return 2 * n
}

func main() {
	fmt.Println(double(21))
}
