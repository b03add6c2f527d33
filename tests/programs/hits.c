// Runs what it is asked to, so often as it is asked to, and says how long one took in picoseconds.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ASM(name, body) \
	long name(long); \
	__asm__(".text\n.balign 64\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" body \
		"\n.size " #name ", .-" #name)

#ifdef __x86_64__
ASM(push_probed, "push %rbp\nmov %rdi, %rax\npop %rbp\nret");
ASM(push_twin, "push %rbp\nmov %rdi, %rax\npop %rbp\nret");
ASM(mov_probed, "mov %rdi, %rax\nret");
ASM(mov_twin, "mov %rdi, %rax\nret");
ASM(jmp_probed, "jmp 1f\n1: mov %rdi, %rax\nret");
ASM(jmp_twin, "jmp 1f\n1: mov %rdi, %rax\nret");
ASM(nop_probed, ".byte 0x0f, 0x1f, 0x44, 0, 0\nmov %rdi, %rax\nret");
ASM(nop_twin, ".byte 0x0f, 0x1f, 0x44, 0, 0\nmov %rdi, %rax\nret");
ASM(lea_probed, "lea 1(%rdi), %rax\nadd $2, %rax\nret");
ASM(lea_twin, "lea 1(%rdi), %rax\nadd $2, %rax\nret");
ASM(trap, "int3\nmov %rdi, %rax\nret");
#else
ASM(push_probed, "stp x29, x30, [sp, #-16]!\nldp x29, x30, [sp], #16\nret");
ASM(push_twin, "stp x29, x30, [sp, #-16]!\nldp x29, x30, [sp], #16\nret");
ASM(mov_probed, "mov x1, x0\nret");
ASM(mov_twin, "mov x1, x0\nret");
ASM(jmp_probed, "b 1f\n1: ret");
ASM(jmp_twin, "b 1f\n1: ret");
ASM(nop_probed, "nop\nmov x1, x0\nret");
ASM(nop_twin, "nop\nmov x1, x0\nret");
ASM(lea_probed, "add x0, x0, #1\nadd x0, x0, #2\nret");
ASM(lea_twin, "add x0, x0, #1\nadd x0, x0, #2\nret");
// Whoever waits for it moves the PC: BRK leaves it where it is.
ASM(trap, "brk #1\nret");
#endif

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

// From now on there is another thread.
static long thread(long n)
{
	pthread_t thread;

	return n ? 0 : pthread_create(&thread, NULL, sleeper, NULL);
}

static const struct {
	const char *name;
	long (*call)(long);
} functions[] = {
	{ "push_probed", push_probed }, { "push_twin", push_twin }, { "mov_probed", mov_probed },
	{ "mov_twin", mov_twin }, { "jmp_probed", jmp_probed }, { "jmp_twin", jmp_twin },
	{ "nop_probed", nop_probed }, { "nop_twin", nop_twin }, { "lea_probed", lea_probed },
	{ "lea_twin", lea_twin }, { "trap", trap }, { "thread", thread },
};

int main(void)
{
	char name[32];
	long times;

	printf("ready\n");
	fflush(stdout);
	while (scanf("%31s %ld", name, &times) == 2)
		for (unsigned i = 0; i < sizeof functions / sizeof *functions; i++)
			if (!strcmp(name, functions[i].name)) {
				struct timespec from, to;
				double ns;

				clock_gettime(CLOCK_MONOTONIC, &from);
				for (long n = 0; n < times; n++)
					functions[i].call(n);
				clock_gettime(CLOCK_MONOTONIC, &to);
				ns = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
				printf("%.0f\n", ns * 1000 / times);
				fflush(stdout);
			}
	return 0;
}
