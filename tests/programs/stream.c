// Threads that say in each call who they are: stream HOW THREADS CALLS NS, where NS is the time from
// one call to the next; 0 is as fast as can be. HOW is what happens meanwhile, or at the end.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

static volatile long sink;
static long calls, pause_ns;
static int forbidden;

PROBED long tell(long n, int tid, int pid, unsigned char letter, short down, _Bool odd)
{
	sink += n + tid + pid;
	return n * 2 + letter + down + odd;
}

static double now(void)
{
	struct timespec t;

	// One that forbids itself the time has none.
	if (forbidden)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void say(long n, int tid, int pid)
{
	tell(n, tid, pid, 'a' + n % 26, -n, n & 1);
}

static void all(long count)
{
	int tid = gettid(), pid = getpid();
	double next = now();

	for (long n = 0; n < count; n++) {
		say(n, tid, pid);
		if (pause_ns) {
			next += pause_ns;
			while (now() < next)
				;
		}
	}
}

static void *thread(void *arg)
{
	all(calls);
	return arg;
}

int main(int argc, char **argv)
{
	const char *how = argc > 4 ? argv[1] : "plain";
	int threads = argc > 4 ? atoi(argv[2]) : 1;
	pthread_t ids[64];
	double begun;

	calls = argc > 4 ? atol(argv[3]) : 1000;
	pause_ns = argc > 4 ? atol(argv[4]) : 0;
	if (threads > 64)
		return 2;
	if (!strcmp(how, "tsc"))
		forbidden = !prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
	begun = now();
	// The stacks of those that are gone are used again, thread pointers and all.
	for (int round = 0; round < (strcmp(how, "rounds") ? 1 : 20); round++) {
		for (int i = 0; i < threads; i++)
			if (pthread_create(&ids[i], NULL, thread, NULL))
				return 2;
		for (int i = 0; i < threads; i++)
			pthread_join(ids[i], NULL);
	}
	if (!threads)
		all(calls);
	printf("%.0f ns\n", now() - begun);
	fflush(stdout);
	if (!strcmp(how, "forks") || !strcmp(how, "vforks")) {
		for (int i = 0; i < 5; i++) {
			pid_t child = how[0] == 'f' ? fork() : vfork();

			if (!child) {
				all(10);
				_exit(0);
			}
			all(10);
			waitpid(child, NULL, 0);
		}
	}
	if (!strcmp(how, "kill"))
		kill(getpid(), SIGKILL);
	if (!strcmp(how, "exec"))
		execl("/bin/echo", "echo", "the end", NULL);
	if (!strcmp(how, "exit"))
		_exit(7);
	return 0;
}
