// What is told of a program: calls of known arguments, values, lengths and errors. Its arguments say
// what it does: work, naps, nested, errors, forks, long.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

static volatile long calls;

PROBED int work(int n, double x, const char *s)
{
	calls += s[0] + (int)x;
	return n % 3 == 0 ? -n : n;
}

PROBED int nap(int ms)
{
	struct timespec time = { 0, ms * 1000000L };
	nanosleep(&time, NULL);
	return ms;
}

PROBED int leaf(int n)
{
	calls++;
	return n * 2;
}

PROBED int middle(int n)
{
	int sum = leaf(n) + leaf(n + 1);
	calls++;
	return sum;
}

PROBED int outer(int n)
{
	int sum = middle(n) + leaf(9);
	calls++;
	return sum;
}

static void *named(void *name)
{
	pthread_setname_np(pthread_self(), name);
	for (int i = 0; i < 5; i++)
		work(i, 0.5, name);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t threads[2];

	if (!strcmp(what, "work")) {
		static const char *const words[] = { "alpha", "beta", "gamma, \"quoted\"\n" };
		for (int i = 0; i < 30; i++)
			work(i, i * 0.25, words[i % 3]);
	} else if (!strcmp(what, "naps")) {
		for (int i = 0; i < 4; i++) {
			nap(1);
			nap(60);
		}
	} else if (!strcmp(what, "nested")) {
		outer(1);
		outer(2);
	} else if (!strcmp(what, "errors")) {
		char byte;
		close(open("/nonexistent", O_RDONLY));
		close(open("/dev/null/file", O_RDONLY));
		close(open("/dev/null", O_RDONLY));
		read(-1, &byte, 1);
		fopen("/nonexistent", "r");
		pthread_join(pthread_self(), NULL);
		errno = 0;
	} else if (!strcmp(what, "threads")) {
		pthread_create(&threads[0], NULL, named, "worker-1");
		pthread_create(&threads[1], NULL, named, "other");
		pthread_join(threads[0], NULL);
		pthread_join(threads[1], NULL);
		named("main");
	} else if (!strcmp(what, "forks")) {
		for (int i = 0; i < 3; i++) {
			pid_t child = fork();
			if (!child) {
				work(i, 0, "child");
				_exit(0);
			}
			waitpid(child, NULL, 0);
		}
		work(100, 0, "parent");
	} else if (!strcmp(what, "long")) {
		// Whoever has started it may be gone.
		for (time_t end = time(NULL) + 4; time(NULL) < end;) {
			outer(1);
			nap(1);
		}
	}
	return 0;
}
