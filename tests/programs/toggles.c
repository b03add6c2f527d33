// Threads that call functions of every shape in a tight loop until stdin ends, and count each call:
// how often each function ran is known to the last call. With an argument, each thread has a timer
// of so many signals a second, whose handler calls such a function too. With a second one, some are
// entered in their middle as well, which the program does not call a function's beginning; if it
// is "blind", nobody looks where signals come: who traces it will die.
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { THREADS = 8 };

static atomic_int over;
static int inside, blind;
static atomic_long rounds, ticks, wrong;

long same(long n);

// FUNCTION(NAME, TEXT): a function of a long that returns a long. Each is there five times.
#define FUNCTION_AT(name, n, place, text)                                                          \
	long name##_##n(long);                                                                     \
	__asm__(".text\n" place ".globl " #name "_" #n "\n.type " #name "_" #n ", %function\n"     \
		#name "_" #n ":\n" text ".size " #name "_" #n ", .-" #name "_" #n "\n");
#define PLACED(name, place, text)                                                                  \
	FUNCTION_AT(name, 0, place, text) FUNCTION_AT(name, 1, place, text)                        \
	FUNCTION_AT(name, 2, place, text) FUNCTION_AT(name, 3, place, text)                        \
	FUNCTION_AT(name, 4, place, text)                                                          \
	static long (*const name[])(long) = { name##_0, name##_1, name##_2, name##_3, name##_4 };
#define FUNCTION(name, text) PLACED(name, ".balign 16\n", text)

#define THREE ".pushsection .rodata\n.balign 8\n0: .quad 3\n.popsection\n"

#ifdef __x86_64__
__asm__(".text\n.globl same\n.type same, %function\nsame: mov %rdi, %rax\n ret\n.size same, .-same\n");
// One instruction, exactly as long as a jump.
FUNCTION(whole, "mov $3, %eax\n add %rdi, %rax\n ret\n")
// One longer than a jump.
FUNCTION(longer, "movabs $3, %rax\n add %rdi, %rax\n ret\n")
// Many boundaries.
FUNCTION(frame, "push %rbp\n mov %rsp, %rbp\n push %rbx\n push %r12\n mov %rdi, %rbx\n"
		"lea 3(%rbx), %rax\n pop %r12\n pop %rbx\n pop %rbp\n ret\n")
FUNCTION(pushes, "push %rbx\n push %rbp\n push %rcx\n push %rdx\n push %rsi\n lea 3(%rdi), %rax\n"
		"pop %rsi\n pop %rdx\n pop %rcx\n pop %rbp\n pop %rbx\n ret\n")
// What compilers begin long functions with.
FUNCTION(saves, "push %r13\n push %r12\n push %rbp\n push %rbx\n sub $8, %rsp\n lea 3(%rdi), %rax\n"
		"add $8, %rsp\n pop %rbx\n pop %rbp\n pop %r12\n pop %r13\n ret\n")
FUNCTION(keeps, "push %r13\n push %r12\n push %rbp\n push %rbx\n mov %rdi, %rbx\n lea 3(%rbx), %rax\n"
		"pop %rbx\n pop %rbp\n pop %r12\n pop %r13\n ret\n")
// Begins with a landing pad.
FUNCTION(pad, "endbr64\n push %rbx\n lea 3(%rdi), %rax\n pop %rbx\n ret\n")
// A call in what is displaced, at once and behind another instruction.
FUNCTION(calls, "call same\n add $3, %rax\n ret\n")
FUNCTION(later, "push %rbx\n call same\n add $3, %rax\n pop %rbx\n ret\n")
// Two instructions.
FUNCTION(leaf, "lea 3(%rdi), %rax\n ret\n")
// Reads the PC.
FUNCTION(reads, "lea 0f(%rip), %rax\n mov (%rax), %rax\n add %rdi, %rax\n ret\n" THREE)
// A branch in it, forward and out of it.
FUNCTION(branch, "test %rdi, %rdi\n js 1f\n lea 3(%rdi), %rax\n ret\n1: mov $-1, %rax\n ret\n")
// Flags that are set in front of it and read behind it.
FUNCTION(flags, "cmp $-1, %rdi\n mov $2, %eax\n adc $0, %rax\n add %rdi, %rax\n ret\n")
// In two pages.
PLACED(across, ".balign 4096\n.skip 4094\n", "push %rbx\n push %rbx\n lea 3(%rdi), %rax\n pop %rbx\n"
		"pop %rbx\n ret\n")
// Jumps into what is displaced.
FUNCTION(entered, "xor %eax, %eax\n1: inc %eax\n cmp $3, %eax\n jne 1b\n add %rdi, %rax\n ret\n")
// Nothing but a jump.
FUNCTION(tail, "jmp leaf_0\n")

// INTO(INTO, NAME, BYTES, BEFORE): functions that do what the first so many bytes of the others do, and
// go on behind them by way of a pointer.
#define INTO_AT(into, name, n, bytes, before)                                                      \
	long into##_##n(long);                                                                     \
	__asm__(".text\n.type " #into "_" #n ", %function\n" #into "_" #n ":\n" before              \
		"jmp *0f(%rip)\n.size " #into "_" #n ", .-" #into "_" #n "\n"                        \
		".pushsection .data.rel.ro, \"aw\"\n.balign 8\n0: .quad " #name "_" #n " + " #bytes   \
		"\n.popsection\n");
#define INTO(into, name, bytes, before)                                                            \
	INTO_AT(into, name, 0, bytes, before) INTO_AT(into, name, 1, bytes, before)                \
	INTO_AT(into, name, 2, bytes, before) INTO_AT(into, name, 3, bytes, before)                \
	INTO_AT(into, name, 4, bytes, before)                                                      \
	static long (*const into[])(long) = { into##_0, into##_1, into##_2, into##_3, into##_4 };
INTO(in_frame, frame, 4, "push %rbp\n mov %rsp, %rbp\n")
INTO(in_pushes, pushes, 4, "push %rbx\n push %rbp\n push %rcx\n push %rdx\n")
INTO(in_last, pushes, 5, "push %rbx\n push %rbp\n push %rcx\n push %rdx\n push %rsi\n")
INTO(in_saves, saves, 4, "push %r13\n push %r12\n")
INTO(in_keeps, keeps, 5, "push %r13\n push %r12\n push %rbp\n")
INTO(in_pad, pad, 4, "")
// Where instructions begin in the first ten bytes of those.
static const struct { long (*const *of)(long); unsigned begins; } heads[] = {
	{ frame, 0x0b3 }, { pushes, 0x23f }, { saves, 0x075 }, { keeps, 0x275 }, { pad, 0x231 },
};
#else
__asm__(".text\n.globl same\n.type same, %function\nsame: hint #34\n ret\n.size same, .-same\n");
FUNCTION(whole, "add x0, x0, #3\n ret\n")
FUNCTION(longer, "mov x1, #3\n add x0, x0, x1\n ret\n")
FUNCTION(frame, "stp x29, x30, [sp, #-16]!\n mov x29, sp\n add x0, x0, #3\n ldp x29, x30, [sp], #16\n ret\n")
FUNCTION(pushes, "str x0, [sp, #-16]!\n ldr x1, [sp], #16\n add x0, x1, #3\n ret\n")
FUNCTION(saves, "sub sp, sp, #16\n add x0, x0, #3\n add sp, sp, #16\n ret\n")
FUNCTION(keeps, "sub sp, sp, #32\n add x0, x0, #3\n add sp, sp, #32\n ret\n")
FUNCTION(pad, "hint #34\n add x0, x0, #3\n ret\n")
FUNCTION(calls, "mov x9, x30\n bl same\n add x0, x0, #3\n ret x9\n")
FUNCTION(later, "str x30, [sp, #-16]!\n bl same\n add x0, x0, #3\n ldr x30, [sp], #16\n ret\n")
FUNCTION(leaf, "add x0, x0, #3\n ret\n")
FUNCTION(reads, "adrp x1, 0f\n ldr x1, [x1, :lo12:0f]\n add x0, x0, x1\n ret\n" THREE)
FUNCTION(branch, "tbnz x0, #63, 1f\n add x0, x0, #3\n ret\n1: mov x0, #-1\n ret\n")
FUNCTION(flags, "cmn x0, #1\n mov x1, #2\n cinc x1, x1, ne\n add x0, x0, x1\n ret\n")
FUNCTION(across, "str x0, [sp, #-16]!\n ldr x0, [sp], #16\n add x0, x0, #3\n ret\n")
FUNCTION(entered, "mov x1, #3\n1: add x0, x0, #1\n subs x1, x1, #1\n b.ne 1b\n ret\n")
FUNCTION(tail, "b leaf_0\n")
#endif

#define CHECK(name)                                                                                \
	for (int i = 0; i < 5; i++)                                                                \
		if (name[i](n) != n + 3 && wrong++ < 5)                                            \
			fprintf(stderr, "%s_%d(%ld): %ld\n", #name, i, n, name[i](n));

static void *thread(void *arg)
{
	long mine = 0;

	for (long n = (long)arg; !over; n++, mine++) {
		CHECK(whole) CHECK(longer) CHECK(frame) CHECK(pushes) CHECK(pad) CHECK(calls)
		CHECK(later) CHECK(leaf) CHECK(reads) CHECK(branch) CHECK(flags) CHECK(across) CHECK(entered)
		CHECK(tail) CHECK(saves) CHECK(keeps)
#ifdef __x86_64__
		if (inside) {
			CHECK(in_frame) CHECK(in_pushes) CHECK(in_last) CHECK(in_saves)
			CHECK(in_keeps) CHECK(in_pad)
		}
#endif
	}
	rounds += mine;
	return arg;
}

long on_tick_calls(long n);
#ifdef __x86_64__
__asm__(".text\n.balign 16\n.globl on_tick_calls\n.type on_tick_calls, %function\n"
	"on_tick_calls: push %rbx\n lea 1(%rdi), %rax\n pop %rbx\n ret\n.size on_tick_calls, .-on_tick_calls\n");
#else
__asm__(".text\n.balign 16\n.globl on_tick_calls\n.type on_tick_calls, %function\n"
	"on_tick_calls: add x0, x0, #1\n ret\n.size on_tick_calls, .-on_tick_calls\n");
#endif

static struct { unsigned long start, end; } code[64];
static int codes;

static int add_code(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	for (int i = 0; i < info->dlpi_phnum && codes < 64; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			code[codes].start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			code[codes].end = code[codes].start + info->dlpi_phdr[i].p_memsz;
			codes++;
		}
	return 0;
}

// Whether a signal found its thread in code of the program and its libraries.
static int is_code(unsigned long at)
{
	for (int i = 0; i < codes; i++)
		if (at >= code[i].start && at < code[i].end)
			return 1;
	return 0;
}

__attribute__((noinline, noclone, used)) void on_tick(int signal, siginfo_t *info, void *context)
{
	mcontext_t *regs = &((ucontext_t *)context)->uc_mcontext;
#ifdef __x86_64__
	unsigned long at = regs->gregs[REG_RIP];
#else
	unsigned long at = regs->pc;
#endif

	(void)info;
	if (blind)
		at = 0;
	else if (!is_code(at) && wrong++ < 5)
		fprintf(stderr, "a signal at %lx\n", at);
#ifdef __x86_64__
	for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++)
		for (int j = 0; j < 5; j++) {
			unsigned long by = at - (unsigned long)heads[i].of[j];
			if (by < 10 && !(heads[i].begins >> by & 1) && wrong++ < 5)
				fprintf(stderr, "a signal in the middle of an instruction: %lx\n", at);
		}
#endif
	if (on_tick_calls(signal) != signal + 1)
		wrong++;
	ticks++;
}

static void *ticked(void *arg)
{
	struct itimerspec every = { { 0, *(long *)arg }, { 0, *(long *)arg } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	timer_t timer;

	event.sigev_notify_thread_id = syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &every, NULL))
		wrong++;
	thread((void *)1L);
	timer_delete(timer);
	return arg;
}

int main(int count, char **args)
{
	struct sigaction tick = { .sa_sigaction = on_tick, .sa_flags = SA_RESTART | SA_SIGINFO };
	long period = count > 1 ? 1000000000 / atol(args[1]) : 0;
	pthread_t threads[THREADS];
	char byte;

	inside = count > 2;
	blind = inside && !strcmp(args[2], "blind");
	dl_iterate_phdr(add_code, NULL);
	sigaction(SIGUSR1, &tick, NULL);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, period ? ticked : thread, period ? &period : (void *)i);
	printf("ready\n");
	fflush(stdout);
	while (read(0, &byte, 1) == 1)
		;
	over = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("calls: %ld, ticks: %ld, wrong: %ld\n", rounds, ticks, wrong);
	return wrong ? 1 : 5;
}
