// Faults at probed instructions: the handler sees the address it would have seen.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

void illegal(void);
void divides(long by);
void divides_memory(long *by);
long loads(long *from);
long behind(long *from);
void stores(long *to);
void jumps(void (*to)(void));
void calls(void (**to)(void));
void pops(long *stack);
void returns(long *stack);
void privileged(void);
void bytes(char *to, const char *from, long count);

#ifdef __x86_64__
__asm__(".text\n"
#define F(name, body) ".balign 16\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" body "\n.size " #name ", .-" #name "\n"
	F(illegal, "ud2\nret")
	F(divides, "idivq %rdi\nret")
	F(divides_memory, "idivq (%rdi)\nret")
	F(loads, "movq (%rdi), %rax\nret")
	F(behind, "xor %eax, %eax\nmovq (%rdi), %rax\nret")
	F(stores, "movq %rdi, (%rdi)\nret")
	F(jumps, "jmp *%rdi")
	F(calls, "call *(%rdi)\nret")
	F(pops, "movq %rdi, %rsp\npop %rax\nret")
	F(returns, "movq %rdi, %rsp\nret")
	F(privileged, "hlt\nret")
	F(bytes, "movq %rdx, %rcx\nrep movsb\nret"));
#define PC gregs[REG_RIP]
#define SP gregs[REG_RSP]
#define TRAP gregs[REG_TRAPNO]
#else
__asm__(".text\n"
#define F(name, body) ".balign 16\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" body "\n.size " #name ", .-" #name "\n"
	F(illegal, "udf #0\nret")
	// Nothing divides by zero here: other things that are refused.
	F(divides, ".inst 0x00000001\nret")
	F(divides_memory, "ldr x0, [x0]\nhlt #5\nret")
	F(loads, "ldr x0, [x0]\nret")
	F(behind, "mov x1, #0\nldr x0, [x0]\nret")
	F(stores, "str x0, [x0]\nret")
	F(jumps, "br x0")
	F(calls, "stp x29, x30, [sp, #-16]!\nldr x0, [x0]\nblr x0\nldp x29, x30, [sp], #16\nret")
	F(pops, "mov sp, x0\nldp x0, x1, [sp], #16\nret")
	F(returns, "mov sp, x0\nldr x30, [sp], #16\nret")
	F(privileged, "mrs x0, sctlr_el1\nret")
	F(bytes, "1: cbz x2, 2f\nldrb w3, [x1], #1\nstrb w3, [x0], #1\nsub x2, x2, #1\nb 1b\n2: ret"));
#define PC pc
#define SP sp
#define TRAP fault_address
#endif

static sigjmp_buf out;
static const char *doing;
static int repaired;
static char *guard;

static const char *near(unsigned long at)
{
	static char text[64];
	static const struct { const char *name; void *at; } known[] = {
		{ "illegal", illegal }, { "divides", divides }, { "divides_memory", divides_memory },
		{ "loads", loads }, { "behind", behind }, { "stores", stores }, { "jumps", jumps }, { "calls", calls },
		{ "pops", pops }, { "returns", returns }, { "privileged", privileged },
		{ "bytes", bytes },
	};

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
		long off = at - (unsigned long)known[i].at;
		if (off >= 0 && off < 20) {
			snprintf(text, sizeof text, "%s+%ld", known[i].name, off);
			return text;
		}
	}
	if (guard && at - (unsigned long)guard < 8192)
		snprintf(text, sizeof text, "guard+%ld", (long)(at - (unsigned long)guard));
	else
		snprintf(text, sizeof text, "%lx", at);
	return text;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	mcontext_t *regs = &uc->uc_mcontext;

	printf("%s: signal %d code %d at %s, ", doing, signal, info->si_code,
	       near((unsigned long)info->si_addr));
	printf("pc %s, ", near(regs->PC));
	printf("trap %s, sp %s\n", near(regs->TRAP),
	       (char *)regs->SP > guard && (char *)regs->SP < guard + 8192 ? "guard" : "stack");
	if (repaired) {
		// The instruction runs again and must succeed this time.
		repaired = 0;
		mprotect(guard + 4096, 4096, PROT_READ | PROT_WRITE);
		return;
	}
	siglongjmp(out, 1);
}

#define TRY(what) do { doing = #what; if (!sigsetjmp(out, 1)) { what; printf("%s: no fault\n", doing); } } while (0)

int main(void)
{
	static char alternate[1 << 16];
	stack_t ss = { .ss_sp = alternate, .ss_size = sizeof alternate };
	struct sigaction handler = { .sa_sigaction = on_fault,
				     .sa_flags = SA_SIGINFO | SA_ONSTACK };
	long zero = 0, nothing[2] = { 0, 0 };
	void (*nowhere)(void) = (void (*)(void))0x10;

	setvbuf(stdout, NULL, _IONBF, 0);
	sigaltstack(&ss, NULL);
	guard = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(guard + 4096, 4096, PROT_NONE);
	sigaction(SIGILL, &handler, NULL);
	sigaction(SIGFPE, &handler, NULL);
	sigaction(SIGSEGV, &handler, NULL);
	sigaction(SIGBUS, &handler, NULL);
	for (volatile int round = 0; round < 3; round++) {
		TRY(illegal());
		TRY(divides(0));
		TRY(divides_memory(&zero));
		TRY(loads((long *)(guard + 4096)));
		TRY(loads((long *)0x8000000000000000));
		repaired = 1;
		TRY(behind((long *)(guard + 4096)));
		mprotect(guard + 4096, 4096, PROT_NONE);
		TRY(stores((long *)(guard + 4097)));
		TRY(jumps(nowhere));
		TRY(jumps((void (*)(void))guard));
		TRY(calls(&nowhere));
		TRY(calls((void (**)(void))(guard + 4096)));
		TRY(pops((long *)(guard + 4096)));
		TRY(returns((long *)(guard + 4096)));
		TRY(returns(nothing));
		TRY(privileged());
		TRY(bytes(guard + 4090, "0123456789", 10));
		repaired = 1;
		TRY(stores((long *)(guard + 4096)));
		mprotect(guard + 4096, 4096, PROT_NONE);
		repaired = 1;
		TRY(bytes(guard + 4090, "0123456789", 10));
		printf("%.10s\n", guard + 4090);
		mprotect(guard + 4096, 4096, PROT_NONE);
	}
	fflush(stdout);
	signal(SIGFPE, SIG_DFL);
	signal(SIGILL, SIG_DFL);
	divides(0);
	return 0;
}
