// Threads that make children all the time, until stdin ends, and call what the children call. Says how many of
// them there were, and what was wrong with them.
//
// Arguments: how children are made: `fork`; `untraced`, a fork that no tracer is told of; `shared`, in the
// memory of their maker, and untraced. And how many threads make them.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "text.h"

#define STACK (1 << 18)

static atomic_int over;
static atomic_long children, wrong, killed, visible;
static const char *how;
// What is copied takes a while.
static char memory[16 << 20];

__attribute__((noinline, noclone, used)) long work(long n)
{
	long sum = 0;

	for (long i = 0; i < 8; i++) {
		sum += i * n;
		__asm__ volatile("" : "+r"(sum));
	}
	return sum;
}

static int calls(void *times)
{
	for (long n = 0; n < *(long *)times; n++)
		if (work(n) != 28 * n)
			return 1;
	return 0;
}

// Whether anything in the memory of a forked child is not the program's.
static int is_seen(void)
{
	struct sigaction action;
	char line[256];
	FILE *maps = fopen("/proc/self/maps", "r");
	int found = 0;

	while (maps && fgets(line, sizeof line, maps))
		if (strstr(line, " r-xp 00000000 00:00 0 \n") || strstr(line, "memfd:xol")) {
			fprintf(stderr, "mapped: %s", line);
			found = 1;
		}
	sigaction(SIGTRAP, NULL, &action);
	if (action.sa_handler != SIG_DFL)
		fprintf(stderr, "SIGTRAP's action: %p\n", (void *)action.sa_handler);
	return found || action.sa_handler != SIG_DFL || text_changed() != 0;
}

static pid_t make(char *stack, int looks)
{
	long times = 2000;
	pid_t pid;

	if (strcmp(how, "shared") == 0) {
		static long many = 20000;

		return clone(calls, stack + STACK, CLONE_VM | CLONE_UNTRACED | SIGCHLD, &many);
	}
	if (strcmp(how, "fork") == 0)
		pid = fork();
	else
		pid = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
	if (pid != 0)
		return pid;
	_exit(calls(&times) ? 1 : looks && is_seen() ? 2 : 0);
}

static void *run(void *arg)
{
	char *stack = malloc(STACK);

	(void)arg;
	for (long n = 0; !over; n++) {
		pid_t pid = make(stack, strcmp(how, "fork") == 0 && n % 8 == 0);
		long times = 500;
		int status;

		if (pid < 0)
			continue;
		wrong += calls(&times);
		while (waitpid(pid, &status, 0) < 0)
			;
		children++;
		killed += WIFSIGNALED(status);
		wrong += WIFEXITED(status) && WEXITSTATUS(status) == 1;
		visible += WIFEXITED(status) && WEXITSTATUS(status) == 2;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[8];
	int count = argc > 2 ? atoi(argv[2]) : 1;
	char byte;

	how = argc > 1 ? argv[1] : "fork";
	memset(memory, 1, sizeof memory);
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, run, NULL);
	puts("ready");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	over = 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("wrong: %ld, killed: %ld, xol seen: %ld\n", wrong, killed, visible);
	fprintf(stderr, "%ld children\n", children);
	return children < 1;
}
