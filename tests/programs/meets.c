// Functions whose code others write to as well: a debugger, the kernel, the program itself. Told what
// to do by the bytes of its stdin.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include "text.h"

long several(long n);
long across(long n);
// Another instruction is come to right behind its first RET.
long beside(long n);
long changes(void);
long goes(void);
// Come to the second and to the third instruction of `several`.
long second(long n);
long third(long n);

#define F(name, body) ".globl " #name "\n.type " #name ", %function\n" #name ":\n" body "\n.size " #name ", .-" #name "\n"
#ifdef __x86_64__
__asm__(".text\n.balign 16\n"
	// Instructions begin at 0, 1, 4 and 8.
	F(several, "push %rbx\n mov %rdi, %rbx\n lea 3(%rbx), %rax\n pop %rbx\n ret")
	".balign 16\n"
	F(second, "push %rbx\n jmp several + 1")
	F(third, "push %rbx\n mov %rdi, %rbx\n jmp several + 4")
	".balign 16\n"
	// 4 bytes, 2, 4, and RET at 10.
	F(beside, "test $1, %dil\n jne 1f\n lea 3(%rdi), %rax\n ret\n"
		"1: lea 0x40(%rdi), %rax\n sub $0x3d, %rax\n ret")
	".balign 16\n"
	F(changes, "mov $1, %eax\n ret")
	// A page of its own.
	".balign 4096\n"
	F(goes, "mov $1, %eax\n ret")
	".balign 4096\n.skip 4094\n"
	F(across, "push %rbx\n push %rbx\n mov %rdi, %rbx\n lea 3(%rbx), %rax\n pop %rbx\n pop %rbx\n ret"));
static const unsigned char trap[] = { 0xcc }, two[] = { 0xb8, 2, 0, 0, 0, 0xc3 };
enum { INSIDE = 4 };
#else
__asm__(".text\n.balign 16\n"
	F(several, "mov x1, x0\n add x0, x1, #3\n ret")
	F(second, "mov x1, x0\n b several + 4")
	F(third, "add x0, x0, #3\n b several + 8")
	F(beside, "add x0, x0, #3\n ret")
	F(changes, "mov x0, #1\n ret")
	".balign 4096\n"
	F(goes, "mov x0, #1\n ret")
	".balign 4096\n"
	F(across, "mov x1, x0\n add x0, x1, #3\n ret"));
static const unsigned char trap[] = { 0, 0, 0x20, 0xd4 };
static const unsigned char two[] = { 0x40, 0, 0x80, 0xd2, 0xc0, 3, 0x5f, 0xd6 };
enum { INSIDE = 4 };
#endif

static volatile long trapped;

// What a debugger would do: the instruction that its trap replaced is done by hand.
static void on_trap(int signal, siginfo_t *info, void *context)
{
	mcontext_t *regs = &((ucontext_t *)context)->uc_mcontext;

	(void)signal, (void)info;
	trapped++;
#ifdef __x86_64__
	regs->gregs[REG_RAX] = regs->gregs[REG_RBX] + 3;
	regs->gregs[REG_RIP] += 3;
#else
	regs->regs[0] = regs->regs[1] + 3;
	regs->pc += 4;
#endif
}

static void write_text(void *at, const void *bytes, size_t n)
{
	int memory = open("/proc/self/mem", O_RDWR);

	if (pwrite(memory, bytes, n, (off_t)(long)at) != (ssize_t)n)
		printf("not written\n");
	close(memory);
}

static void rewrite(void *at)
{
	char *page = (char *)((long)at & ~4095L);

	mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
	memcpy(at, two, sizeof two);
	mprotect(page, 8192, PROT_READ | PROT_EXEC);
	__builtin___clear_cache(at, (char *)at + sizeof two);
}

static const char *call(void)
{
	for (long n = 0; n < 1000; n++)
		if (several(n) != n + 3 || across(n) != n + 3 || beside(n) != n + 3)
			return "wrong";
	return "right";
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	unsigned char saved[sizeof trap];
	size_t page = sysconf(_SC_PAGESIZE);
	char byte;

	setvbuf(stdout, NULL, _IONBF, 0);
	printf("ready\n");
	while (read(0, &byte, 1) == 1)
		switch (byte) {
		case 'c':
			printf("%s\n", call());
			break;
		case 'i': {
			long wrong = 0;

			for (long n = 0; n < 1000; n++)
				wrong += second(n) != n + 3 || third(n) != n + 3;
			printf("inside, wrong: %ld\n", wrong);
			break;
		}
		case 't':
			sigaction(SIGTRAP, &action, NULL);
			memcpy(saved, (char *)several + INSIDE, sizeof saved);
			write_text((char *)several + INSIDE, trap, sizeof trap);
			printf("%s\n", call());
			break;
		case 'T':
			write_text((char *)several + INSIDE, saved, sizeof saved);
			printf("trapped %ld\n", trapped);
			break;
		case 's':
			rewrite(changes);
			printf("changes %ld\n", changes());
			break;
		case 'g':
			munmap((char *)((long)goes & -(long)page), page);
			mmap((char *)((long)goes & -(long)page), page, PROT_READ | PROT_WRITE | PROT_EXEC,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			memcpy(goes, two, sizeof two);
			__builtin___clear_cache((char *)goes, (char *)goes + sizeof two);
			printf("goes %ld\n", goes());
			break;
		case 'a':
			printf("all %ld\n", changes() + 10 * goes());
			break;
		case 'm': {
			// As many mappings as the limit allows, but for a few.
			long made = 0;
			void *last[64];

			for (;; made++) {
				void *at = mmap(NULL, page, made % 2 ? PROT_READ : PROT_NONE,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
				if (at == MAP_FAILED)
					break;
				last[made % 64] = at;
			}
			for (int i = 0; i < 64; i++)
				munmap(last[i], page);
			printf("many %d\n", made > 1000);
			break;
		}
		case '?':
			printf("text changed: %ld\n", text_changed());
		}
	return 5;
}
