// Threads that call small functions in a tight loop while a timer interrupts them, and check each
// result: how often each function ran is known to the last call.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <ucontext.h>

#define PROBED __attribute__((noinline, noclone, used))

enum { THREADS = 8 };

static long rounds;
static atomic_long wrong;
static atomic_long ticks;

// Begins with pushes; the flags are read behind a probe in its middle.
PROBED long deep(long n)
{
	volatile long room[8];

	room[n & 7] = n;
	if (n & 1)
		return room[n & 7] * 3;
	return room[n & 7] + 5;
}

PROBED long flat(long n)
{
	return n * 7 + 3;
}

// Its first instruction faults now and then; the handler has it done again elsewhere.
static __thread long spare;
PROBED long store(long *place, long n);
__asm__(".text\n.balign 16\n.globl store\n.type store, %function\n"
#ifdef __x86_64__
	"store:	mov %rsi, (%rdi)\n	mov (%rdi), %rax\n	ret\n.size store, .-store\n");
#define PC gregs[REG_RIP]
#define FIRST gregs[REG_RDI]
#else
	"store:	str x1, [x0]\n	ldr x0, [x0]\n	ret\n.size store, .-store\n");
#define PC pc
#define FIRST regs[0]
#endif

PROBED void on_tick(int signal)
{
	(void)signal;
	atomic_fetch_add(&ticks, 1);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	mcontext_t *regs = &((ucontext_t *)context)->uc_mcontext;

	(void)signal;
	if ((long)regs->PC != (long)store || info->si_addr)
		atomic_fetch_add(&wrong, 1);
	regs->FIRST = (long)&spare;
}

static void *thread(void *arg)
{
	long mine;

	for (long i = 0; i < rounds; i++) {
		if (deep(i) != ((i & 1) ? i * 3 : i + 5) || flat(i) != i * 7 + 3)
			atomic_fetch_add(&wrong, 1);
		if (store(i % 4096 == 17 ? NULL : &mine, i) != i)
			atomic_fetch_add(&wrong, 1);
	}
	return arg;
}

int main(int count, char **args)
{
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction tick = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	pthread_t threads[THREADS];

	rounds = count > 1 ? atol(args[1]) : 100000;
	sigaction(SIGALRM, &tick, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, thread, NULL))
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	printf("calls: %ld, ticks: %ld, wrong: %ld\n", rounds * THREADS, ticks, wrong);
	return 0;
}
