// Threads that wait in every way that a stop can disturb, until stdin ends. Each prints whether
// all its waits had the right result and lasted as long as they should.
//
// Arguments: the tolerance of a wait in milliseconds, beside what the machine itself takes; `blocked`
// if the threads that run probed code block SIGTRAP, else they raise it.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include "text.h"

#define PROBED __attribute__((noinline, noclone, used))

enum { TIMEOUT_MS = 400, EVENT_MS = 150 };

static atomic_int over;
static atomic_long ticks, traps, raised;
static double tolerance;
static int blocked;
static volatile int futex_word;

PROBED long work(long n)
{
	return n * 7 + 3;
}

static void on_tick(int signal)
{
	(void)signal;
	if (work(ticks) != ticks * 7 + 3 && work(1) != 10)
		abort();
	ticks++;
}

static void on_trap(int signal)
{
	(void)signal;
	traps++;
}

static double time_of(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return at.tv_sec * 1e3 + at.tv_nsec / 1e6;
}

static double now(void)
{
	return time_of(CLOCK_MONOTONIC);
}

// By how much the kernel's last tick is late, as it may be under a hypervisor: the coarse clock is set at
// each. A socket's limit is counted in ticks from the last one, and one more.
static double ticks_late(void)
{
	struct timespec tick;
	double since = now() - time_of(CLOCK_MONOTONIC_COARSE);

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	return since > tick.tv_nsec / 1e6 ? since - tick.tv_nsec / 1e6 : 0;
}

// By how much the sleeps of a process were late that nobody probes: what the machine itself takes from everybody.
static _Atomic double *machine_late;

static pid_t watch_machine(void)
{
	pid_t watcher;

	machine_late = mmap(NULL, sizeof *machine_late, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (machine_late == MAP_FAILED)
		abort();
	watcher = fork();
	if (watcher != 0)
		return watcher;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		double begun = now();

		usleep(1000);
		*machine_late = *machine_late + (now() - begun - 1);
	}
}

static int semaphores, event_fd, epoll_fd, poll_fd, sockets[2];

// One wait of at most `ms`. Returns 0 for an event, else the errno that says timeout.
static int wait_epoll(int ms)
{
	struct epoll_event event;
	eventfd_t value;
	int n = epoll_wait(epoll_fd, &event, 1, ms);

	return n == 1 ? eventfd_read(event_fd, &value) : n == 0 ? ETIMEDOUT : errno;
}

static int wait_poll(int ms)
{
	struct pollfd fd = { .fd = poll_fd, .events = POLLIN };
	eventfd_t value;
	int n = poll(&fd, 1, ms);

	return n == 1 ? eventfd_read(poll_fd, &value) : n == 0 ? ETIMEDOUT : errno;
}

static int wait_sem(int ms)
{
	struct sembuf down = { 0, -1, 0 };
	struct timespec limit = { ms / 1000, ms % 1000 * 1000000 };

	return semtimedop(semaphores, &down, 1, &limit) == 0 ? 0 : errno == EAGAIN ? ETIMEDOUT : errno;
}

static int wait_signal(int ms)
{
	struct timespec limit = { ms / 1000, ms % 1000 * 1000000 };
	sigset_t set;
	int n;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	n = sigtimedwait(&set, NULL, &limit);
	return n == SIGUSR2 ? 0 : errno == EAGAIN ? ETIMEDOUT : errno;
}

static int wait_futex(int ms)
{
	double end = now() + ms;

	// The word says it, not the wake: that one may fall into a stop, and come when the next wait has begun.
	while (!futex_word) {
		long left = (end - now()) * 1e6;
		struct timespec limit = { left / 1000000000, left % 1000000000 };

		if (left <= 0)
			return ETIMEDOUT;
		if (syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &limit, NULL, 0) && errno != EAGAIN)
			return errno;
	}
	futex_word = 0;
	return 0;
}

static int wait_sleep(int ms)
{
	struct timespec limit = { ms / 1000, ms % 1000 * 1000000 };

	return nanosleep(&limit, NULL) == 0 ? ETIMEDOUT : errno;
}

static int wait_socket(int ms)
{
	struct timeval limit = { ms / 1000, ms % 1000 * 1000 };
	char byte;

	setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	return recv(sockets[0], &byte, 1, 0) == 1 ? 0 : errno == EAGAIN ? ETIMEDOUT : errno;
}

static int wait_select(int ms)
{
	struct timeval limit = { ms / 1000, ms % 1000 * 1000 };

	return select(0, NULL, NULL, NULL, &limit) == 0 ? ETIMEDOUT : errno;
}

static pthread_t signalled;
static void post_epoll(void) { eventfd_write(event_fd, 1); }
static void post_poll(void) { eventfd_write(poll_fd, 1); }
static void post_sem(void)
{
	struct sembuf up = { 0, 1, 0 };
	semop(semaphores, &up, 1);
}
static void post_signal(void) { pthread_kill(signalled, SIGUSR2); }
static void post_futex(void)
{
	futex_word = 1;
	syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static void post_socket(void)
{
	if (send(sockets[1], "x", 1, 0) != 1)
		abort();
}

static struct waiter {
	const char *name;
	int (*wait)(int);
	void (*post)(void);
	pthread_t thread;
	// When somebody should post; 0 for never.
	_Atomic double due;
	long waits, wrong, early, late, mask_lost;
	// A stop that ends it has it wait the whole time again, in milliseconds: the limit is the
	// socket's, not the call's.
	double again;
	double worst;
	int errors[4];
} waiters[] = {
	{ .name = "epoll_wait", .wait = wait_epoll, .post = post_epoll },
	{ .name = "poll", .wait = wait_poll, .post = post_poll },
	{ .name = "semtimedop", .wait = wait_sem, .post = post_sem },
	{ .name = "sigtimedwait", .wait = wait_signal, .post = post_signal },
	{ .name = "futex", .wait = wait_futex, .post = post_futex },
	{ .name = "nanosleep", .wait = wait_sleep },
	{ .name = "recv", .wait = wait_socket, .post = post_socket, .again = TIMEOUT_MS },
	{ .name = "select", .wait = wait_select },
};
enum { WAITERS = sizeof waiters / sizeof *waiters };

static int same_mask(const sigset_t *want)
{
	sigset_t have;

	pthread_sigmask(SIG_SETMASK, NULL, &have);
	for (int n = 1; n < 65; n++)
		// The kernel and libc keep these four open.
		if (n != SIGKILL && n != SIGSTOP && n != 32 && n != 33 &&
		    sigismember(&have, n) != sigismember(want, n))
			return 0;
	return 1;
}

static void *waits(void *arg)
{
	struct waiter *self = arg;
	sigset_t mask;

	// Only the workers hear the clock: a wait that ends early was ended by somebody else.
	sigemptyset(&mask);
	sigaddset(&mask, SIGALRM);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	for (int round = 0; !over; round++) {
		int event = self->post && round % 2;
		double late = self->again && !event ? ticks_late() : 0, before = *machine_late;
		double begun = now(), took, want = event ? EVENT_MS : TIMEOUT_MS;
		int result;

		if (event)
			self->due = begun + EVENT_MS;
		result = self->wait(event ? 60000 : TIMEOUT_MS);
		took = now() - begun;
		self->waits++;
		if (result != (event ? 0 : ETIMEDOUT)) {
			self->errors[self->wrong++ & 3] = result;
			// Somebody may still post for this round.
			while (event && self->due != 0)
				usleep(1000);
			if (event)
				self->wait(10);
		} else if (took < want - late - 1) {
			self->early++;
			fprintf(stderr, "%s: %.1f ms instead of %.0f; ticks were %.1f ms late\n", self->name, took,
				want, late);
		} else if (took > want + tolerance + self->again + (*machine_late - before)) {
			self->late++;
		}
		if (took - want > self->worst)
			self->worst = took - want;
		self->mask_lost += !same_mask(&mask);
	}
	return NULL;
}

// Posts what is due.
static void *posts(void *arg)
{
	sigset_t mask;

	sigfillset(&mask);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	for (int left = 1; left;) {
		double at = now();

		left = !over;
		for (int i = 0; i < WAITERS; i++) {
			double due = waiters[i].due;
			if (due != 0 && at >= due) {
				waiters[i].due = 0;
				waiters[i].post();
			}
			left |= due != 0;
		}
		usleep(1000);
	}
	return arg;
}

static long wrong_results, masks_lost;

// Runs probed code all the time.
static void *works(void *arg)
{
	long id = (long)arg;
	sigset_t mask;

	sigemptyset(&mask);
	if (blocked)
		sigaddset(&mask, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	for (long i = 0; !over; i++) {
		if (work(i) != i * 7 + 3)
			wrong_results++;
		if (i % 64 == 0) {
			if (!blocked && id % 2 == 0 && i % 256 == 0) {
				raised++;
				raise(SIGTRAP);
			}
			masks_lost += !same_mask(&mask);
			sched_yield();
		}
		if (i % 512 == 0)
			usleep(500);
	}
	return NULL;
}

// Sleeps under the clock: what is left after each interruption is slept on. What a handler takes
// in between is not slept; each piece is as long as the kernel says it was.
static void *sleeps(void *arg)
{
	long *bad = arg;

	while (!over) {
		struct timespec left = { 0, 300000000 };
		int interrupted;

		do {
			double before = left.tv_sec * 1e3 + left.tv_nsec / 1e6, begun = now(), took, slept;
			double machine = *machine_late;

			interrupted = nanosleep(&left, &left) && errno == EINTR;
			took = now() - begun;
			slept = before - (interrupted ? left.tv_sec * 1e3 + left.tv_nsec / 1e6 : 0);
			if (took < slept - 1 || took > slept + tolerance + (*machine_late - machine)) {
				++*bad;
				fprintf(stderr, "a sleep of %.1f ms took %.1f ms\n", slept, took);
			}
			if (interrupted)
				work(1);
		} while (interrupted && !over);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction tick = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct sigaction trap = { .sa_handler = on_trap, .sa_flags = SA_RESTART };
	struct sigaction seen;
	struct epoll_event event = { .events = EPOLLIN };
	struct itimerval clock = { { 0, 1000 }, { 0, 1000 } };
	pthread_t poster, workers[4], sleeper;
	sigset_t all, none;
	long bad_sleeps = 0;
	pid_t watcher;
	char byte;

	tolerance = argc > 1 ? atof(argv[1]) : 100;
	blocked = argc > 2;
	watcher = watch_machine();
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	event_fd = eventfd(0, EFD_NONBLOCK);
	poll_fd = eventfd(0, EFD_NONBLOCK);
	epoll_fd = epoll_create1(0);
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &event);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		return 1;
	sigaction(SIGALRM, &tick, NULL);
	sigaction(SIGTRAP, &trap, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < WAITERS; i++)
		pthread_create(&waiters[i].thread, NULL, waits, &waiters[i]);
	signalled = waiters[3].thread;
	pthread_create(&poster, NULL, posts, NULL);
	for (long i = 0; i < 4; i++)
		pthread_create(&workers[i], NULL, works, (void *)i);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	pthread_create(&sleeper, NULL, sleeps, &bad_sleeps);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	setitimer(ITIMER_REAL, &clock, NULL);
	printf("ready\n");
	fflush(stdout);
	while (read(0, &byte, 1) == 1)
		;
	over = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(workers[i], NULL);
	pthread_join(sleeper, NULL);
	for (int i = 0; i < WAITERS; i++) {
		struct waiter *w = &waiters[i];

		pthread_join(w->thread, NULL);
		printf("%s: %s\n", w->name,
		       !w->waits ? "never" : w->wrong || w->early || w->late || w->mask_lost ? "BAD" : "ok");
		fprintf(stderr, "%s: %ld waits, %ld wrong (%d %d), %ld early, %ld late, worst +%.1f ms, %ld masks\n",
			w->name, w->waits, w->wrong, w->errors[0], w->errors[1], w->early, w->late, w->worst,
			w->mask_lost);
	}
	pthread_join(poster, NULL);
	semctl(semaphores, 0, IPC_RMID);
	kill(watcher, SIGKILL);
	waitpid(watcher, NULL, 0);
	printf("interrupted sleeps: %s\n", bad_sleeps ? "BAD" : "ok");
	printf("clock: %s\n", ticks > 100 ? "ok" : "BAD");
	printf("traps: %s\n", traps == raised ? "ok" : "BAD");
	printf("results: %s, masks: %s\n", wrong_results ? "BAD" : "ok", masks_lost ? "BAD" : "ok");
	fprintf(stderr, "ticks %ld, traps %ld of %ld, wrong results %ld, masks lost %ld, bad sleeps %ld\n",
		ticks, traps, raised, wrong_results, masks_lost, bad_sleeps);
	sigaction(SIGTRAP, NULL, &seen);
	printf("action: %s %x\n", seen.sa_handler == on_trap ? "own" : "other",
	       (unsigned)seen.sa_flags & ~0x04000000u);
	printf("main mask: %s\n", same_mask(&all) ? "ok" : "BAD");
	printf("text changed: %ld\n", text_changed());
	return 0;
}
