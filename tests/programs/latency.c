// Calls that take known times, which it measures itself: nested, recursive, in threads, in a child,
// left by longjmp, and failing ones. HOW COUNT; stdout has what was measured.
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))
#define BARRIER __asm__ volatile("" ::: "memory")

static jmp_buf out;

static long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000L + at.tv_nsec;
}

static void spend(long ns)
{
	long end = now() + ns;

	while (now() < end)
		;
}

PROBED int work(long ns, int kind)
{
	spend(ns);
	BARRIER;
	return kind % 3 == 2 ? -1 : kind;
}

PROBED int inner(long ns)
{
	spend(ns);
	BARRIER;
	return 1;
}

PROBED int outer(long ns)
{
	int sum = 0;

	spend(ns);
	for (int i = 0; i < 3; i++)
		sum += inner(2 * ns);
	BARRIER;
	return sum;
}

PROBED long recurse(long depth, long ns)
{
	long sum = depth;

	spend(ns);
	if (depth > 0)
		sum += recurse(depth - 1, ns);
	BARRIER;
	return sum;
}

PROBED int leaves(int n)
{
	if (n % 2)
		longjmp(out, 1);
	BARRIER;
	return n;
}

PROBED int tries(int n)
{
	volatile int result = -1;

	if (!setjmp(out))
		result = leaves(n);
	spend(100000);
	BARRIER;
	return result;
}

static long calls;

static void *thread(void *ns)
{
	for (long i = 0; i < calls; i++)
		work((long)ns, 0);
	return NULL;
}

// What a call of `work` takes, as its caller sees it.
static void measured(long ns, int kind)
{
	long begun = now();

	work(ns, kind);
	printf("%ld\n", now() - begun);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "times";

	calls = argc > 2 ? atol(argv[2]) : 10;
	if (!strcmp(how, "times")) {
		static const long times[] = { 20000, 200000, 2000000, 10000000 };

		for (long i = 0; i < calls; i++)
			measured(times[i % 4], i % 4);
	} else if (!strcmp(how, "fast")) {
		for (long i = 0; i < calls; i++)
			work(0, i & 3);
	} else if (!strcmp(how, "many")) {
		for (long i = 0; i < calls; i++)
			work(0, i);
	} else if (!strcmp(how, "nested")) {
		long begun = now();

		for (long i = 0; i < calls; i++)
			outer(1000000);
		printf("%ld\n", now() - begun);
	} else if (!strcmp(how, "recursive")) {
		for (long i = 0; i < calls; i++)
			recurse(4, 1000000);
	} else if (!strcmp(how, "left")) {
		for (long i = 0; i < calls; i++)
			tries(i);
	} else if (!strcmp(how, "threads")) {
		pthread_t threads[4];

		for (long i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, thread, (void *)(1000000L << i));
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	} else if (!strcmp(how, "forks")) {
		pid_t child = fork();

		for (long i = 0; i < calls; i++)
			work(1000000, 0);
		if (child > 0)
			waitpid(child, NULL, 0);
	} else if (!strcmp(how, "exits")) {
		work(0, 0);
		recurse(3, 0);
		if (fork() == 0)
			_exit(work(0, 0));
		wait(NULL);
	}
	return 0;
}
