// A process whose first thread ends while two others go on.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

enum { CALLS = 300000 };

static atomic_long sum;
static atomic_int done;

PROBED long work(long n)
{
	return n * 3 + 1;
}

static void *thread(void *arg)
{
	// The first thread is gone by now.
	usleep(50000);
	for (long i = 0; i < CALLS; i++)
		sum += work(i) == i * 3 + 1;
	if (++done == 2) {
		printf("%ld\n", (long)sum);
		exit(0);
	}
	return arg;
}

int main(void)
{
	pthread_t one;

	for (int i = 0; i < 2; i++)
		if (pthread_create(&one, NULL, thread, NULL))
			return 1;
	pthread_exit(NULL);
}
