// Handles SIGTRAP for most of its time, and ignores it in between, until stdin ends. Says how many it has sent
// itself while it handled it, how many came, and how often it was blocked where it should not be.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
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

int main(void)
{
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
