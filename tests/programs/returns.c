// Functions that leave in every way a compiler knows. Everything they return is a number that
// depends on the arguments.
//
// With a number, coroutines too, also ones that go on in another thread: the kernel's
// uretprobes kill a program that has them; and calls as deep as the number says. It then says how
// often functions returned.
#include <pthread.h>
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
// Left by a tail call, and the callee by longjmp.
PROBED long r_tail_jumped(long n) { return r_jumped(n + 1); }
PROBED long r_catches_tail(long n)
{
	volatile long m = n;
	if (setjmp(out))
		return -6;
	long value = r_tail_jumped(m);
	BARRIER;
	return value + 2;
}
// Each call is the last thing that the one before it does: all return at once.
#define APART __attribute__((noipa, used))
APART long r_odd(long n);
APART long r_even(long n) { return n ? r_odd(n - 1) : 7; }
APART long r_odd(long n) { return n ? r_even(n - 1) : 8; }
// Deep, and back by returns or by longjmp.
PROBED long r_abyss(long n, _Bool jump)
{
	if (!n && jump)
		longjmp(out, 1);
	long below = n ? r_abyss(n - 1, jump) : 0;
	BARRIER;
	return below + 1;
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
PROBED int r_compare(const void *a, const void *b) { return *(int *)a - *(int *)b; }
PROBED long r_sorts(int *numbers, long n)
{
	qsort(numbers, n, sizeof *numbers, r_compare);
	return numbers[0];
}
// By hand: two functions that share one end, one that falls into the next, one that calls a part of
// itself that ends in a return (no exit), functions of one instruction, a conditional tail call, a
// loop whose head is the entry (each round is a call of its own), and a return that pops.
long r_shared_one(long n), r_shared_two(long n), r_falls(long n), r_middle(long n), r_ret_twice(long n);
long call_nothing(long n), r_thunk(long n), r_thunk_pointer(long n), r_maybe_tail(long n);
long r_again(long n), call_pops(long n);
long (*volatile leaf_pointer)(long) = r_leaf;
#define FUNCTION(name) ".balign 16\n" NEXT(name)
#define NEXT(name) ".globl " #name "\n.type " #name ", %function\n" #name ":\n"
#define END(name) ".size " #name ", .-" #name "\n"
__asm__(".text\n"
#if defined __x86_64__
	FUNCTION(r_shared_one) "push %rbx\n lea 1(%rdi), %rax\n jmp 1f\n" END(r_shared_one)
	FUNCTION(r_shared_two) "push %rbx\n lea 2(%rdi), %rax\n1: pop %rbx\n ret\n" END(r_shared_two)
	FUNCTION(r_falls) "inc %rdi\n test %rdi, %rdi\n" END(r_falls)
	NEXT(r_middle) "lea 7(%rdi), %rax\n ret\n" END(r_middle)
	FUNCTION(r_ret_twice) "call 2f\n call 2f\n mov %rdi, %rax\n ret\n2: inc %rdi\n ret\n" END(r_ret_twice)
	FUNCTION(r_nothing) "ret\n" END(r_nothing)
	FUNCTION(call_nothing) "lea 3(%rdi), %rax\n call r_nothing\n ret\n" END(call_nothing)
	FUNCTION(r_thunk) "jmp r_leaf\n" END(r_thunk)
	FUNCTION(r_thunk_pointer) "jmp *leaf_pointer(%rip)\n" END(r_thunk_pointer)
	FUNCTION(r_maybe_tail) "test $1, %dil\n jz r_leaf\n lea 5(%rdi), %rax\n ret\n" END(r_maybe_tail)
	FUNCTION(r_again) "dec %rdi\n jnz r_again\n mov $9, %eax\n ret\n" END(r_again)
	FUNCTION(r_pops) "lea 4(%rdi), %rax\n ret $16\n" END(r_pops)
	FUNCTION(call_pops) "sub $24, %rsp\n call r_pops\n add $8, %rsp\n ret\n" END(call_pops)
#elif defined __aarch64__
	FUNCTION(r_shared_one) "add x0, x0, #1\n stp x29, x30, [sp, #-16]!\n b 1f\n" END(r_shared_one)
	FUNCTION(r_shared_two) "add x0, x0, #2\n stp x29, x30, [sp, #-16]!\n"
	"1: ldp x29, x30, [sp], #16\n ret\n" END(r_shared_two)
	FUNCTION(r_falls) "add x0, x0, #1\n cmp x0, #0\n" END(r_falls)
	NEXT(r_middle) "add x0, x0, #7\n ret\n" END(r_middle)
	FUNCTION(r_ret_twice) "mov x9, x30\n bl 2f\n bl 2f\n mov x30, x9\n ret\n2: add x0, x0, #1\n ret\n" END(r_ret_twice)
	FUNCTION(r_nothing) "ret\n" END(r_nothing)
	FUNCTION(call_nothing) "mov x9, x30\n add x0, x0, #3\n bl r_nothing\n mov x30, x9\n ret\n" END(call_nothing)
	FUNCTION(r_thunk) "b r_leaf\n" END(r_thunk)
	FUNCTION(r_thunk_pointer) "adrp x9, leaf_pointer\n ldr x9, [x9, :lo12:leaf_pointer]\n br x9\n" END(r_thunk_pointer)
	FUNCTION(r_maybe_tail) "tbz x0, #0, r_near\n add x0, x0, #5\n ret\n" END(r_maybe_tail)
	FUNCTION(r_near) "b r_leaf\n" END(r_near)
	FUNCTION(r_again) "subs x0, x0, #1\n b.ne r_again\n mov x0, #9\n ret\n" END(r_again)
	// Returns through another register than the link register.
	FUNCTION(r_pops) "mov x9, x30\n add x0, x0, #4\n ret x9\n" END(r_pops)
	FUNCTION(call_pops) "stp x29, x30, [sp, #-16]!\n bl r_pops\n ldp x29, x30, [sp], #16\n ret\n" END(call_pops)
#endif
);

static long abyss, switched, in_routine, sorts, catches_tail;

static void coroutine(void)
{
	for (long n = 0;; n++) {
		state += r_in_routine(n);
		in_routine++;
	}
}
static void *elsewhere(void *n)
{
	state += r_switched((long)n);
	switched++;
	return NULL;
}

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
		sum += r_catches_tail(i) + r_even(i % 7) + r_odd(i % 5);
		catches_tail++;
		if (argc > 1 && i % 2) {
			sum += r_switched(i);
			switched++;
		} else if (argc > 1) {
			// The routine goes on in a thread, with frames that it got in another.
			pthread_t thread;
			if (pthread_create(&thread, NULL, elsewhere, (void *)i))
				return 1;
			pthread_join(thread, NULL);
		}
		sum += r_shared_one(i) + r_shared_two(i) + r_falls(i) + r_middle(i) + r_ret_twice(i);
		sum += call_nothing(i) + r_thunk(i) + r_thunk_pointer(i) + r_maybe_tail(i) + r_again(i % 5 + 1);
		sum += call_pops(i);
		r_void(&counter);
		for (int n = 0; n < 64; n++)
			numbers[n] = n * 37 % 64;
		sum += r_sorts(numbers, 64);
		sorts++;
	}
	printf("sum %ld counter %ld state %ld\n", sum, counter, state);
	if (argc > 1) {
		long depth = atol(argv[1]);
		if (!setjmp(out))
			r_abyss(depth, 1);
		abyss = r_abyss(depth, 0);
		if (!setjmp(out))
			r_abyss(depth / 2, 1);
		abyss += r_abyss(depth / 4, 0);
		printf("returned r_abyss %ld\n", abyss);
		printf("returned r_switched %ld\nreturned r_in_routine %ld\n", switched, in_routine);
		printf("returned r_sorts %ld\nreturned r_catches_tail %ld\n", sorts, catches_tail);
	}
	return 0;
}
