// Adds numbers, by a function, by a method and by a generic function, ten times each.
package main

type number struct{ value int }

//go:noinline
func add(a int, b int) int { return a + b }

//go:noinline
func (n *number) Add(b int) { n.value += b }

//go:noinline
func twice[T int | int64](a T) T { return a + a }

func main() {
	sum, n := 0, number{}
	for i := 0; i < 10; i++ {
		sum = add(sum, twice(i))
		n.Add(i)
	}
	println(sum + n.value)
}
