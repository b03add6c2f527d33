// A program with traps of its own, beside functions that are probed.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

static volatile sig_atomic_t traps;
static volatile long code, where;
extern char own_trap_end[];

PROBED long work(long n)
{
	return n ^ 0x55;
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal;
	traps++;
	code = info->si_code;
#ifdef __x86_64__
	where = uc->uc_mcontext.gregs[REG_RIP];
#else
	// BRK leaves the PC on itself.
	where = uc->uc_mcontext.pc + 4;
	uc->uc_mcontext.pc += 4;
#endif
	work(traps);
}

PROBED void own_trap(void)
{
#ifdef __x86_64__
	__asm__ volatile("int3\n.globl own_trap_end\nown_trap_end:" ::: "memory");
#else
	__asm__ volatile("brk #77\n.globl own_trap_end\nown_trap_end:" ::: "memory");
#endif
}

int main(void)
{
	struct sigaction handler = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	pid_t pid;
	int status;

	setvbuf(stdout, NULL, _IONBF, 0);
	sigaction(SIGTRAP, &handler, NULL);
	for (int i = 0; i < 20; i++) {
		work(i);
		own_trap();
		if (where != (long)own_trap_end)
			printf("trap seen elsewhere\n");
	}
	printf("own traps %d, code %ld\n", traps, code);
	for (int i = 0; i < 20; i++) {
		raise(SIGTRAP);
		kill(getpid(), SIGTRAP);
		work(i);
	}
	printf("sent traps %d, code %ld\n", traps, code);
	if (!(pid = fork())) {
		signal(SIGTRAP, SIG_DFL);
		work(1);
		own_trap();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("child: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	if (!(pid = fork())) {
		signal(SIGTRAP, SIG_IGN);
		work(2);
		raise(SIGTRAP);
		work(3);
		own_trap();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("ignoring child: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return 0;
}
