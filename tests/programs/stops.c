// Job control and interrupted calls as the parent of a child that runs probed code sees them.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBED __attribute__((noinline, noclone, used))

static volatile long calls;
static volatile sig_atomic_t continued, alarms;
// What the handler of SIGCONT tells: a SIGSTOP that follows too early takes a SIGCONT away.
static int told[2];

PROBED void work(void)
{
	calls++;
}

static void on_continue(int signal)
{
	(void)signal;
	continued++;
	if (write(told[1], "c", 1) != 1)
		_exit(2);
}

static void on_alarm(int signal)
{
	(void)signal;
	alarms++;
	work();
}

static void child(int in)
{
	char byte;

	signal(SIGCONT, on_continue);
	for (;;) {
		for (int i = 0; i < 200; i++)
			work();
		if (read(in, &byte, 1) != 1 || byte == 'x')
			_exit(40 + continued);
		if (byte == 's')
			raise(SIGSTOP);
		if (byte == 't')
			raise(SIGTSTP);
	}
}

static void expect(const char *what, pid_t pid, int flags)
{
	int status = 0;
	pid_t got = waitpid(pid, &status, flags);

	if (got != pid)
		printf("%s: %s\n", what, strerror(errno));
	else if (WIFSTOPPED(status))
		printf("%s: stopped by %d\n", what, WSTOPSIG(status));
	else if (WIFCONTINUED(status))
		printf("%s: continued\n", what);
	else if (WIFEXITED(status))
		printf("%s: status %d\n", what, WEXITSTATUS(status));
	else
		printf("%s: signal %d\n", what, WTERMSIG(status));
}

static void resume(pid_t pid)
{
	char byte = 0;

	kill(pid, SIGCONT);
	expect("SIGCONT", pid, WCONTINUED);
	if (read(told[0], &byte, 1) != 1)
		exit(1);
}

static void send(int to, char byte)
{
	if (write(to, &byte, 1) != 1)
		exit(1);
}

static void interrupted(void)
{
	struct sigaction restart = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct sigaction plain = { .sa_handler = on_alarm };
	struct timespec pause = { 0, 900000000 }, left = { 0, 0 };
	int to_self[2];
	char byte = 0;
	long got;
	pid_t pid;

	if (pipe(to_self))
		exit(1);
	sigaction(SIGALRM, &restart, NULL);
	if (!(pid = fork())) {
		usleep(300000);
		send(to_self[1], 'r');
		_exit(0);
	}
	ualarm(50000, 50000);
	got = read(to_self[0], &byte, 1);
	ualarm(0, 0);
	printf("restarted read: %ld %c, alarms %d\n", got, byte, alarms > 1);
	waitpid(pid, NULL, 0);
	sigaction(SIGALRM, &plain, NULL);
	ualarm(300000, 0);
	got = read(to_self[0], &byte, 1);
	printf("interrupted read: %ld %s\n", got, strerror(errno));
	// Late enough to find it asleep on a slow machine under a tracer.
	ualarm(300000, 0);
	got = nanosleep(&pause, &left);
	printf("interrupted sleep: %ld %s, %d left\n", got, strerror(errno), left.tv_nsec > 100000000);
	got = nanosleep(&left, NULL);
	printf("slept: %ld\n", got);
}

int main(void)
{
	int pipes[2];
	pid_t pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (pipe(pipes) || pipe(told))
		return 1;
	if (!(pid = fork())) {
		close(pipes[1]);
		child(pipes[0]);
	}
	close(pipes[0]);
	for (int i = 0; i < 2; i++) {
		send(pipes[1], 's');
		expect("SIGSTOP of its own", pid, WUNTRACED);
		resume(pid);
		kill(pid, SIGSTOP);
		expect("SIGSTOP from outside", pid, WUNTRACED);
		// Stays stopped, whoever else looks at it.
		usleep(50000);
		printf("still stopped: %d\n", waitpid(pid, NULL, WNOHANG | WCONTINUED) == 0);
		resume(pid);
	}
	send(pipes[1], 't');
	expect("SIGTSTP", pid, WUNTRACED);
	resume(pid);
	send(pipes[1], 'x');
	expect("end", pid, 0);
	interrupted();
	return 0;
}
