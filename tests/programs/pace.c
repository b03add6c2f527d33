// Says what a call of two small functions takes, in nanoseconds; with a second argument, two
// processes do.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

PROBED long plain(long a, long b)
{
	return a + b * 3;
}

PROBED long framed(long a)
{
	volatile long room[40];

	room[a & 31] = a;
	return room[a & 31];
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int count, char **args)
{
	long n = count > 1 ? atol(args[1]) : 1000, sum = 0;
	double begun = now(), middle, end;
	int status = 0;
	pid_t child = count > 2 ? fork() : -1;

	for (long i = 0; i < n; i++)
		sum += plain(i, sum);
	middle = now();
	for (long i = 0; i < n; i++)
		sum += framed(i);
	end = now();
	printf("%.3f %.3f\n", (middle - begun) / n, (end - middle) / n);
	if (child > 0)
		waitpid(child, &status, 0);
	return sum == 1 || status;
}
