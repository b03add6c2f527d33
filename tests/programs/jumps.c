// Control flow that leaves functions otherwise than by returning.
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define PROBED __attribute__((noinline, noclone, used))

static jmp_buf out;
static sigjmp_buf out_of_handler;
static ucontext_t back, one, two;
static long steps;

PROBED long dive(long n)
{
	long below = 0;

	if (n < 0)
		return 0;
	if (!n)
		longjmp(out, 7);
	below = dive(n - 1);
	__asm__ volatile("" ::: "memory");
	return below + 1;
}

PROBED long deep(long n)
{
	long below = 0;

	if (n)
		below = deep(n - 1);
	__asm__ volatile("" ::: "memory");
	return below + 1;
}

PROBED void step(ucontext_t *from, ucontext_t *to)
{
	steps++;
	swapcontext(from, to);
}

static void routine(int other)
{
	for (int i = 0; i < 100; i++)
		step(other ? &two : &one, other ? &one : &two);
}

static void on_signal(int signal)
{
	deep(signal);
	siglongjmp(out_of_handler, signal);
}

PROBED int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int main(void)
{
	static char stack_one[1 << 16], stack_two[1 << 16], alternate[1 << 16];
	static int numbers[500];
	volatile int jumped = 0, handled = 0;

	for (volatile int i = 0; i < 50; i++)
		switch (setjmp(out)) {
		case 0:
			dive(i);
			break;
		case 7:
			jumped++;
		}
	printf("jumped %d\n", jumped);
	printf("deep %ld\n", deep(20000));

	getcontext(&one);
	one.uc_stack.ss_sp = stack_one;
	one.uc_stack.ss_size = sizeof stack_one;
	one.uc_link = &back;
	makecontext(&one, (void (*)(void))routine, 1, 0);
	getcontext(&two);
	two.uc_stack.ss_sp = stack_two;
	two.uc_stack.ss_size = sizeof stack_two;
	two.uc_link = &back;
	makecontext(&two, (void (*)(void))routine, 1, 1);
	swapcontext(&back, &one);
	printf("steps %ld\n", steps);

	stack_t ss = { .ss_sp = alternate, .ss_size = sizeof alternate };
	struct sigaction handler = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &handler, NULL);
	sigaction(SIGSEGV, &handler, NULL);
	for (volatile int i = 0; i < 50; i++)
		if (!sigsetjmp(out_of_handler, 1)) {
			if (i % 2)
				raise(SIGUSR1);
			else
				*(volatile int *)(long)(i + 1) = 1;
		} else
			handled++;
	printf("handled %d\n", handled);
	for (int i = 0; i < 500; i++)
		numbers[i] = i * 7919 % 500;
	qsort(numbers, 500, sizeof *numbers, compare);
	for (int i = 0; i < 500; i++)
		if (numbers[i] != i)
			printf("not sorted at %d\n", i);
	return 0;
}
