// Runs probed functions of every kind in several threads until stdin ends, and checks each result.
// What it prints does not depend on how long it ran.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "text.h"

#define PROBED __attribute__((noinline, noclone, used))

static atomic_int over;
static atomic_long rounds, wrong, ticks;
static const long table[4] = { 3, 5, 7, 11 };
static long counter;

PROBED long probed_plain(long n)
{
	return n * 7 + 3;
}

// Keeps a frame: begins with a push.
PROBED long probed_frame(long n)
{
	char text[32];

	snprintf(text, sizeof text, "%ld", n);
	return strtol(text, NULL, 10) + 1;
}

// Begins with an access relative to the instruction.
PROBED long probed_table(long n)
{
	return __atomic_add_fetch(&counter, 0, __ATOMIC_RELAXED) + table[n & 3];
}

PROBED long probed_tail(long n);
PROBED long probed_call(long n);
PROBED long probed_branch(long n);
#ifdef __x86_64__
__asm__(".text\n"
	".balign 16\n.globl probed_tail\n.type probed_tail, @function\nprobed_tail:\n"
	"	jmp probed_plain\n.size probed_tail, .-probed_tail\n"
	".balign 16\n.globl probed_call\n.type probed_call, @function\nprobed_call:\n"
	"	call probed_plain\n	inc %rax\n	ret\n.size probed_call, .-probed_call\n"
	".balign 16\n.globl probed_branch\n.type probed_branch, @function\nprobed_branch:\n"
	"	loop 1f\n1:	mov %rdi, %rax\n	ret\n.size probed_branch, .-probed_branch\n");
#else
__asm__(".text\n"
	".balign 16\n.globl probed_tail\n.type probed_tail, @function\nprobed_tail:\n"
	"	b probed_plain\n.size probed_tail, .-probed_tail\n"
	".balign 16\n.globl probed_call\n.type probed_call, @function\nprobed_call:\n"
	"	str x30, [sp, #-16]!\n	bl probed_plain\n	add x0, x0, #1\n	ldr x30, [sp], #16\n	ret\n"
	".size probed_call, .-probed_call\n"
	".balign 16\n.globl probed_branch\n.type probed_branch, @function\nprobed_branch:\n"
	"	tbnz x0, #3, 1f\n1:	ret\n.size probed_branch, .-probed_branch\n");
#endif

PROBED long returns_value(long n)
{
	if (n & 1)
		return n - 1;
	return probed_plain(n);
}

PROBED long returns_deep(long n)
{
	long below = 0;

	if (n)
		below = returns_deep(n - 1);
	__asm__ volatile("" ::: "memory");
	return below + 2;
}

#define check(have, want) check_at(#have, have, want)

static void check_at(const char *what, long have, long want)
{
	if (have != want) {
		int error = errno;

		wrong++;
		fprintf(stderr, "%s: %ld instead of %ld, errno %d\n", what, have, want, error);
	}
}

static void round_of(long n)
{
	check(probed_plain(n), n * 7 + 3);
	check(probed_frame(n), n + 1);
	check(probed_table(n), table[n & 3]);
	check(probed_tail(n), n * 7 + 3);
	check(probed_call(n), n * 7 + 4);
	check(probed_branch(n), n);
	check(returns_value(n), n & 1 ? n - 1 : n * 7 + 3);
	check(returns_deep(n & 7), 2 * (n & 7) + 2);
	rounds++;
}

static void *works(void *arg)
{
	for (long n = (long)arg; !over; n++) {
		round_of(n);
		if (n % 100 == 0)
			usleep(200);
	}
	return arg;
}

static void *sleeps(void *arg)
{
	while (!over) {
		struct timespec pause = { 0, 20000000 };

		check(nanosleep(&pause, NULL), 0);
		round_of(1);
	}
	return arg;
}

static void on_tick(int signal)
{
	check(probed_call(signal), signal * 7 + 4);
	ticks++;
}

static void *signals(void *arg)
{
	pthread_t *other = arg;

	while (!over) {
		pthread_kill(*other, SIGUSR1);
		usleep(1000);
	}
	return arg;
}

int main(void)
{
	struct sigaction tick = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	pthread_t threads[4];
	char byte;

	sigaction(SIGUSR1, &tick, NULL);
	for (long i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, works, (void *)(i * 1000));
	pthread_create(&threads[2], NULL, sleeps, NULL);
	pthread_create(&threads[3], NULL, signals, &threads[0]);
	printf("ready\n");
	fflush(stdout);
	while (read(0, &byte, 1) == 1)
		if (byte == '?') {
			// What a detach must leave behind.
			printf("text changed: %ld\n", text_changed());
			fflush(stdout);
		}
	for (int i = 0; i < 5000 && (rounds <= 10 || ticks <= 1); i++)
		usleep(1000);
	over = 1;
	for (int i = 3; i >= 0; i--)
		pthread_join(threads[i], NULL);
	printf("ran: %d, ticked: %d, wrong: %ld\n", rounds > 10, ticks > 1, wrong);
	return wrong ? 1 : 5;
}
