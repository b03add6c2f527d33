// Children of every kind: fork, a tree of forks, vfork and exec, a child that shares memory,
// posix_spawn, system, popen. What each finds is printed by the first parent, in order.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

extern char **environ;
static volatile long shared_calls;

PROBED long work(long n)
{
	shared_calls++;
	return n * 3 + 1;
}

static int ended(const char *what, pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		printf("%s: %s\n", what, strerror(errno));
		return -1;
	}
	if (WIFSIGNALED(status))
		printf("%s: signal %d\n", what, WTERMSIG(status));
	else
		printf("%s: status %d\n", what, WEXITSTATUS(status));
	return status;
}

static int shares(void *arg)
{
	for (int i = 0; i < 50; i++)
		work(i);
	*(long *)arg = shared_calls;
	return 7;
}

static long tree(int depth)
{
	long sum = work(depth);

	if (!depth)
		return sum & 15;
	for (int i = 0; i < 2; i++) {
		int status = 0;
		pid_t pid = fork();
		if (!pid)
			_exit(tree(depth - 1) & 63);
		waitpid(pid, &status, 0);
		sum += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
	}
	return sum & 63;
}

int main(void)
{
	long seen = 0, before;
	pid_t pid;
	char line[64];
	char *echo[] = { "echo", "spawned", NULL };

	setvbuf(stdout, NULL, _IONBF, 0);
	if (!(pid = fork())) {
		for (int i = 0; i < 100; i++)
			work(i);
		_exit(shared_calls == 100 ? 42 : 1);
	}
	ended("fork", pid);
	if (!(pid = fork()))
		abort();
	ended("abort", pid);
	printf("tree: %ld\n", tree(4));

	before = shared_calls;
	if (!(pid = vfork())) {
		work(1);
		work(2);
		execl("/bin/echo", "echo", "vforked", NULL);
		_exit(127);
	}
	ended("vfork", pid);
	printf("vfork wrote: %ld\n", shared_calls - before);
	if (!(pid = vfork())) {
		work(3);
		_exit(9);
	}
	ended("vfork exit", pid);

	char *stack = mmap(NULL, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	before = shared_calls;
	ended("clone vm", clone(shares, stack + (1 << 18), CLONE_VM | SIGCHLD, &seen));
	printf("clone vm wrote: %ld\n", seen - before);
	before = shared_calls;
	ended("clone vm vfork",
	      clone(shares, stack + (1 << 18), CLONE_VM | CLONE_VFORK | SIGCHLD, &seen));
	printf("clone vm vfork wrote: %ld\n", seen - before);

	if (posix_spawnp(&pid, "echo", NULL, NULL, echo, environ))
		return 1;
	ended("posix_spawn", pid);
	printf("no program: %d\n", posix_spawnp(&pid, "no-such-program", NULL, NULL, echo, environ) == ENOENT);
	printf("system: %d\n", WEXITSTATUS(system("echo from a shell; exit 5")));
	FILE *pipe = popen("echo one; echo two; seq 3 | tail -n 1", "r");
	while (fgets(line, sizeof line, pipe))
		printf("popen: %s", line);
	printf("pclose: %d\n", pclose(pipe));
	return 0;
}
