// A program that allows itself few system calls and dies at any other. Its argument says how:
// kill, errno, or after (the filter comes only in the middle); how often it calls a function is next.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

static volatile long calls;

PROBED long work(long n)
{
	calls++;
	return n * 5;
}

static void filter(unsigned otherwise)
{
#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(__NR_write),
		ALLOW(__NR_exit_group),
		ALLOW(__NR_clock_nanosleep),
		BPF_STMT(BPF_RET | BPF_K, otherwise),
	};
	struct sock_fprog program = { sizeof rules / sizeof *rules, rules };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		exit(9);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "kill";
	int often = argc > 2 ? atoi(argv[2]) : 100;
	char line[64];
	long sum = 0;
	int n;

	if (!strcmp(how, "after"))
		for (int i = 0; i < 100; i++)
			sum += work(i);
	filter(!strcmp(how, "errno") ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS);
	for (int i = 0; i < often; i++)
		sum += work(i);
	n = snprintf(line, sizeof line, "calls %ld sum %ld\n", calls, sum);
	if (write(1, line, n) != n)
		return 1;
	if (!strcmp(how, "errno")) {
		n = snprintf(line, sizeof line, "getpid %ld\n", syscall(__NR_getppid));
		if (write(1, line, n) != n)
			return 1;
	}
	_exit(6);
}
