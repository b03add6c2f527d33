// Handles SIGTRAP for most of its time, and ignores it in between, until stdin ends. Says how many it has sent
// itself while it handled it, how many came, and how often it was blocked where it should not be.
//
// With an argument three threads do that, handle it always, and run the probed function in its handler as
// well, and in that of a clock.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long handled, sent, blocked;

__attribute__((noinline, noclone, used)) long work(long n)
{
	return n * 7 + 3;
}

static void on_trap(int signal)
{
	struct timespec begun, now;

	(void)signal;
	handled++;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - begun.tv_sec) * 1000000000L + now.tv_nsec - begun.tv_nsec < 200000);
}

static _Thread_local long own;
static volatile int over;
static long counts[3][3];

static void on_trap_too(int signal)
{
	struct timespec begun, now;

	(void)signal;
	own++;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	do {
		if (work(own) != own * 7 + 3)
			_exit(1);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begun.tv_sec) * 1000000000L + now.tv_nsec - begun.tv_nsec < 200000);
}

static void on_tick(int signal)
{
	(void)signal;
	for (long n = 0; n < 20; n++)
		if (work(n) != n * 7 + 3)
			_exit(1);
}

static void *handles_too(void *arg)
{
	long *counts = arg;
	sigset_t mask;

	while (!over) {
		for (long n = 0; n < 20; n++)
			if (work(n) != n * 7 + 3)
				_exit(1);
		raise(SIGTRAP);
		counts[0]++;
		pthread_sigmask(SIG_BLOCK, NULL, &mask);
		counts[2] += sigismember(&mask, SIGTRAP);
	}
	counts[1] = own;
	return NULL;
}

static int threads(void)
{
	struct sigaction handle = { .sa_handler = on_trap_too };
	struct sigaction tick = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct itimerval clock = { { 0, 1000 }, { 0, 1000 } };
	pthread_t threads[3];
	sigset_t ticks;
	char byte;

	sigaction(SIGTRAP, &handle, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, handles_too, counts[i]);
	sigemptyset(&ticks);
	sigaddset(&ticks, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &ticks, NULL);
	sigaction(SIGALRM, &tick, NULL);
	setitimer(ITIMER_REAL, &clock, NULL);
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) == 1)
		;
	over = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 3; i++) {
		sent += counts[i][0];
		handled += counts[i][1];
		blocked += counts[i][2];
	}
	printf("lost: %ld, blocked: %ld\n", sent - handled, blocked);
	return sent < 1;
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return threads();
	struct sigaction handle = { .sa_handler = on_trap }, ignore = { .sa_handler = SIG_IGN };
	sigset_t mask;
	char byte;

	fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) != 0) {
		sigaction(SIGTRAP, &ignore, NULL);
		for (long n = 0; n < 20; n++)
			if (work(n) != n * 7 + 3)
				return 1;
		sigaction(SIGTRAP, &handle, NULL);
		raise(SIGTRAP);
		sent++;
		sigprocmask(SIG_BLOCK, NULL, &mask);
		blocked += sigismember(&mask, SIGTRAP);
	}
	printf("lost: %ld, blocked: %ld\n", sent - handled, blocked);
	return sent < 1;
}
