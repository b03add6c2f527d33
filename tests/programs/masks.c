// A program that blocks every signal, or handles SIGTRAP itself, while probed code runs: its mask
// and its actions must stay its own.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

extern char **environ;
static volatile long calls;
static long times = 1000;
static volatile sig_atomic_t traps;

PROBED void work(void)
{
	calls++;
}

static void on_trap(int signal)
{
	(void)signal;
	traps++;
}

static void show(const char *when)
{
	sigset_t mask;
	struct sigaction action;
	int blocked = 0;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	for (int n = 1; n < 65; n++)
		blocked += sigismember(&mask, n) == 1;
	sigaction(SIGTRAP, NULL, &action);
	printf("%s: %d blocked, SIGTRAP %s, %s, flags %x\n", when, blocked,
	       sigismember(&mask, SIGTRAP) == 1 ? "blocked" : "open",
	       action.sa_handler == on_trap ? "handled"
	       : action.sa_handler == SIG_IGN ? "ignored"
	       : action.sa_handler == SIG_DFL ? "default" : "unknown",
	       (unsigned)action.sa_flags & ~0x04000000u);
}

// The mask as the kernel tells it. Of the actions it tells that xol has one of its own.
static void status(const char *when)
{
	char line[256];
	FILE *file = fopen("/proc/thread-self/status", "r");

	while (fgets(line, sizeof line, file))
		if (!strncmp(line, "SigBlk", 6))
			printf("%s: %s", when, line);
	fclose(file);
}

static void *thread(void *arg)
{
	for (int i = 0; i < times; i++)
		work();
	show("thread");
	return arg;
}

static void children(const char *when)
{
	pthread_t id;
	pid_t pid;
	int code;
	char *argv[] = { "grep", "-E", "^SigBlk", "/proc/self/status", NULL };

	pthread_create(&id, NULL, thread, NULL);
	pthread_join(id, NULL);
	if (posix_spawnp(&pid, "grep", NULL, NULL, argv, environ))
		exit(1);
	waitpid(pid, &code, 0);
	show(when);
	status(when);
}

static void rounds(const char *when)
{
	for (int i = 0; i < times; i++)
		work();
	show(when);
	children(when);
}

// The argument says how often probed code runs each time.
int main(int argc, char **argv)
{
	sigset_t all, trap;
	struct sigaction handler = { .sa_handler = on_trap, .sa_flags = SA_RESTART | SA_NODEFER };

	if (argc > 1)
		times = atol(argv[1]);
	setvbuf(stdout, NULL, _IONBF, 0);
	sigfillset(&all);
	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	rounds("plain");
	sigaction(SIGTRAP, &handler, NULL);
	rounds("handled");
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	rounds("all blocked, handled");
	// One that waits until it may come.
	raise(SIGTRAP);
	rounds("pending");
	pthread_sigmask(SIG_UNBLOCK, &trap, NULL);
	printf("traps %d\n", traps);
	pthread_sigmask(SIG_BLOCK, &trap, NULL);
	signal(SIGTRAP, SIG_IGN);
	rounds("blocked, ignored");
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);
	rounds("ignored");
	raise(SIGTRAP);
	signal(SIGTRAP, SIG_DFL);
	pthread_sigmask(SIG_BLOCK, &trap, NULL);
	rounds("blocked");
	printf("calls %ld traps %d\n", calls, traps);
	return 0;
}
