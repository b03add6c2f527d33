// Functions that leave in every way a compiler knows. Everything they return is a number that
// depends on the arguments.
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define PROBED __attribute__((noinline, noclone, used))
#define BARRIER __asm__ volatile("" ::: "memory")

static jmp_buf out;
static ucontext_t back, routine;
static long state = 1;

static __attribute__((cold, noinline)) long unlikely(long n)
{
	state += n;
	return state ^ 0x5a5a;
}

PROBED long r_leaf(long n) { return n * 3 + 1; }
PROBED long r_frame(long n)
{
	char text[24];
	snprintf(text, sizeof text, "%ld", n);
	return strlen(text);
}
PROBED long r_tail(long n) { return r_leaf(n + 1); }
PROBED long r_tail_twice(long n) { return n & 1 ? r_tail(n) : r_leaf(n); }
PROBED long r_tail_libc(const char *s) { return strlen(s); }
static long (*const table[])(long) = { r_leaf, r_tail, r_frame, r_tail_twice };
PROBED long r_tail_pointer(long n) { return table[n & 3](n); }
PROBED long r_cold(long n)
{
	if (__builtin_expect(n % 7 == 3, 0)) {
		long other = unlikely(n);
		BARRIER;
		return other + unlikely(n + 1);
	}
	return n + 2;
}
PROBED long r_early(long n)
{
	if (n < 4)
		return -1;
	if (n == 6)
		return r_frame(n);
	for (long i = 0; i < n; i++)
		if (i * i > n)
			return i;
	return n;
}
PROBED long r_switch(long n)
{
	switch (n & 15) {
	case 0: return 11;
	case 1: return r_leaf(5);
	case 2: BARRIER; return 13;
	case 3: return state;
	case 4: return 17 + n;
	case 5: return unlikely(1);
	case 6: return 23;
	case 7: return r_frame(123);
	case 8: state++; return 29;
	case 9: return 31 * n;
	default: return 1;
	}
}
PROBED long r_deep(long n)
{
	long below = n ? r_deep(n - 1) : 0;
	BARRIER;
	return below + n;
}
PROBED long r_mutual(long n);
PROBED long r_mutual_other(long n)
{
	long below = n > 0 ? r_mutual(n - 1) : 1;
	BARRIER;
	return below * 3 % 1000;
}
PROBED long r_mutual(long n)
{
	long below = n > 0 ? r_mutual_other(n - 1) : 2;
	BARRIER;
	return below + 5;
}
PROBED void r_void(long *n) { ++*n; }
PROBED int r_int(int n) { return -n; }
PROBED char *r_pointer(char *p) { return p + 1; }
PROBED _Bool r_bool(long n) { return n > 3; }
struct pair { long a, b; };
struct large { long v[8]; };
PROBED struct pair r_pair(long n) { return (struct pair){ n, -n }; }
PROBED struct large r_large(long n)
{
	struct large l;
	for (int i = 0; i < 8; i++)
		l.v[i] = n * i;
	return l;
}
PROBED long r_variadic(int n, ...)
{
	__builtin_va_list list;
	long sum = 0;
	__builtin_va_start(list, n);
	while (n--)
		sum += __builtin_va_arg(list, long);
	__builtin_va_end(list);
	return sum;
}
PROBED long r_alloca(long n)
{
	volatile char *space = __builtin_alloca(16 + n * 8);
	space[n] = n;
	return space[n] + 1;
}
// Left by longjmp every third time: that is no return.
PROBED long r_jumped(long n)
{
	if (n % 3 == 0)
		longjmp(out, 1);
	return n;
}
PROBED long r_jumped_over(long n)
{
	long value = r_jumped(n);
	BARRIER;
	return value + 1;
}
PROBED long r_catches(long n)
{
	volatile long m = n;
	if (setjmp(out))
		return -5;
	return r_jumped_over(m);
}
// Left for another stack and come back to.
PROBED long r_switched(long n)
{
	swapcontext(&back, &routine);
	return n * 2;
}
PROBED long r_in_routine(long n)
{
	swapcontext(&routine, &back);
	return n + 100;
}
static void coroutine(void)
{
	for (long n = 0;; n++)
		state += r_in_routine(n);
}
PROBED int r_compare(const void *a, const void *b) { return *(int *)a - *(int *)b; }
PROBED long r_sorts(int *numbers, long n)
{
	qsort(numbers, n, sizeof *numbers, r_compare);
	return numbers[0];
}
// Two functions that share one end, by hand.
long r_shared_one(long n), r_shared_two(long n), r_falls(long n), r_middle(long n), r_ret_twice(long n);
__asm__(".text\n"
	".balign 16\n.globl r_shared_one\n.type r_shared_one, @function\nr_shared_one:\n"
	"	push %rbx\n	lea 1(%rdi), %rax\n	jmp 1f\n.size r_shared_one, .-r_shared_one\n"
	".balign 16\n.globl r_shared_two\n.type r_shared_two, @function\nr_shared_two:\n"
	"	push %rbx\n	lea 2(%rdi), %rax\n1:	pop %rbx\n	ret\n.size r_shared_two, .-r_shared_two\n"
	// Falls through into the next function.
	".balign 16\n.globl r_falls\n.type r_falls, @function\nr_falls:\n"
	"	inc %rdi\n	test %rdi, %rdi\n.size r_falls, .-r_falls\n"
	".globl r_middle\n.type r_middle, @function\nr_middle:\n"
	"	lea 7(%rdi), %rax\n	ret\n.size r_middle, .-r_middle\n"
	// Calls a part of itself that ends in a ret: not an exit.
	".balign 16\n.globl r_ret_twice\n.type r_ret_twice, @function\nr_ret_twice:\n"
	"	call 2f\n	call 2f\n	mov %rdi, %rax\n	ret\n2:	inc %rdi\n	ret\n"
	".size r_ret_twice, .-r_ret_twice\n");

// With an argument, coroutines too: the kernel's uretprobes kill a program that has them.
int main(int argc, char **argv)
{
	static char stack[1 << 16];
	volatile long sum = 0, i;
	int numbers[64];
	long counter = 0;

	getcontext(&routine);
	routine.uc_stack.ss_sp = stack;
	routine.uc_stack.ss_size = sizeof stack;
	makecontext(&routine, coroutine, 0);
	for (i = 0; i < 40; i++) {
		sum += r_leaf(i) + r_frame(i) + r_tail(i) + r_tail_twice(i) + r_tail_pointer(i);
		sum += r_tail_libc("some text") + r_cold(i) + r_early(i) + r_switch(i) + r_deep(i % 9);
		sum += r_mutual(i % 6) + r_int(i) + r_bool(i) + r_pair(i).b + r_large(i).v[3];
		sum += r_pointer((char *)&numbers) - (char *)&numbers;
		sum += r_variadic(3, i, i + 1, 5L) + r_alloca(i) + r_catches(i);
		if (argc > 1)
			sum += r_switched(i) + !argv[1];
		sum += r_shared_one(i) + r_shared_two(i) + r_falls(i) + r_middle(i) + r_ret_twice(i);
		r_void(&counter);
		for (int n = 0; n < 64; n++)
			numbers[n] = n * 37 % 64;
		sum += r_sorts(numbers, 64);
	}
	printf("sum %ld counter %ld state %ld\n", sum, counter, state);
	return 0;
}
