// execve by the leader, and by another thread while others run: the thread takes the leader's id.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

static char *self;
static volatile long calls;

PROBED long work(long n)
{
	calls++;
	return n + 1;
}

static void *spins(void *arg)
{
	for (;;) {
		work((long)arg);
		usleep(100);
	}
	return arg;
}

static void *execs(void *arg)
{
	char *argv[] = { self, arg, NULL };

	usleep(2000);
	execv(self, argv);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t id;
	int round = argc > 1 ? atoi(argv[1]) : 0;
	char next[16];

	self = "/proc/self/exe";
	printf("round %d, leader %d, %ld\n", round, getpid() == gettid(), work(round));
	fflush(stdout);
	if (round == 6) {
		execl("/bin/echo", "echo", "the end", NULL);
		return 1;
	}
	snprintf(next, sizeof next, "%d", round + 1);
	if (round % 2) {
		char *again[] = { self, next, NULL };
		execv(self, again);
		return 1;
	}
	for (long i = 0; i < 3; i++)
		pthread_create(&id, NULL, spins, (void *)i);
	pthread_create(&id, NULL, execs, next);
	pthread_join(id, NULL);
	return 1;
}
