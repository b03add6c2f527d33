// What arm64 instructions do, one group for each argument; a probed run prints the same.
// Every site that a test probes is at a fixed distance from its function's symbol.
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef GUARDED
// With this the linker marks the program as guarded, which the C library's own entry is not fit for.
__asm__(".globl _start\n_start: bti c\nmov x29, #0\nmov x30, #0\nmov x5, x0\nldr x1, [sp]\n"
	"add x2, sp, #8\nadrp x0, main\nadd x0, x0, :lo12:main\nmov x3, #0\nmov x4, #0\nmov x6, sp\n"
	"bl __libc_start_main\nbrk #1");
#endif

#define FUNCTION(name, ...) \
	__asm__(".text\n.balign 16\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" \
		".arch armv8.5-a+sve+memtag\n" __VA_ARGS__ "\n.size " #name ", .-" #name "\n")
// One with data behind it, at the local label 1.
#define WITH_DATA(name, data, ...) FUNCTION(name, __VA_ARGS__); __asm__(".balign 16\n1: " data)

// Literal loads: +0. The literals lie behind their functions' ends.
double ldr_d(void);
WITH_DATA(ldr_d, ".double 42.0", "ldr d0, 1f\nret");
float ldr_s(void);
WITH_DATA(ldr_s, ".single 42.5", "ldr s0, 1f\nret");
uint64_t ldr_x(void);
WITH_DATA(ldr_x, ".quad 0x123456789abcdef0", "ldr x0, 1f\nret");
uint32_t ldr_w(void);
WITH_DATA(ldr_w, ".word 0xfedcba98", "ldr w0, 1f\nret");
int64_t ldrsw(void);
WITH_DATA(ldrsw, ".word 0xfedcba98", "ldrsw x0, 1f\nret");
uint64_t prfm(void);
WITH_DATA(prfm, ".word 0", "prfm pldl1keep, 1f\nmov x0, #7\nret");
void ldr_q(uint64_t to[2]);
WITH_DATA(ldr_q, ".quad 0x1111222233334444, 0x5555666677778888", "ldr q1, 1f\nstr q1, [x0]\nret");
uint64_t adr(void), adr_of(void);
FUNCTION(adr, "adr x0, adr\nret");
uint64_t adrp(void);
FUNCTION(adrp, "adrp x0, adrp\nret");

static void literals(void)
{
	uint64_t q[2] = {0, 0};

	ldr_q(q);
	printf("%g %g %lx %x %lx %lu %lx %lx\n", ldr_d(), ldr_s(), ldr_x(), ldr_w(), ldrsw(), prfm(), q[0],
	       q[1]);
	printf("%d %d\n", adr() == (uint64_t)adr, adrp() == ((uint64_t)adrp & ~0xfffUL));
}

// Pointer authentication: RETAA at +4, BLRAA at +20.
uint64_t retaa(void);
FUNCTION(retaa, "paciasp\nretaa");
uint64_t blraa(uint64_t (*f)(void));
FUNCTION(blraa, "stp x29, x30, [sp, #-32]!\nstr x19, [sp, #16]\nmov x19, x0\nmov x1, #17\npacia x19, x1\n"
		"blraa x19, x1\nldr x19, [sp, #16]\nldp x29, x30, [sp], #32\nret");
// The return address is spoilt: +8 is the RETAA that finds it.
void spoilt(void);
FUNCTION(spoilt, "paciasp\neor x30, x30, #1 << 52\nretaa");

// Exclusives: a loop of LDXR at +4, ADD at +8, STXR at +12.
struct tries {
	uint64_t was, tries;
};
struct tries exclusive(uint64_t *at, uint64_t tries);
FUNCTION(exclusive, "mov x3, x0\n1: ldxr x0, [x3]\nadd x4, x0, #1\nstxr w2, x4, [x3]\n"
		    "add x1, x1, #1\ncbnz w2, 1b\nret");
// LSE: +4.
uint64_t lse(uint64_t *at);
FUNCTION(lse, "mov x1, #5\nldadd x1, x0, [x0]\nret");

// SVE: +0 to +24.
void sve(uint64_t *to);
FUNCTION(sve, "ptrue p0.d\nindex z0.d, #3, #4\nmov z1.d, #5\nmul z0.d, p0/m, z0.d, z1.d\n"
	      "rdvl x1, #1\nst1d z0.d, p0, [x0]\nstr x1, [x0]\nret");

// Branches to landings, which matter where the program is guarded: +16 is the branch.
#define BRANCHES(name, insn, reg) \
	uint64_t name(void *to); \
	FUNCTION(name, "bti c\nmov x9, x30\nmov " reg ", x0\nadr x30, 1f\n" insn "\n1: mov x30, x9\nret")
BRANCHES(by_br_x1, "br x1", "x1");
BRANCHES(by_br_x16, "br x16", "x16");
BRANCHES(by_blr, "blr x2", "x2");
BRANCHES(by_ret, "ret x3", "x3");
#define LANDING(name, pad) \
	uint64_t name(void); \
	FUNCTION(name, pad "\nmov x0, #1\nret x30")
LANDING(at_c, "bti c");
LANDING(at_j, "bti j");
LANDING(at_jc, "bti jc");
LANDING(at_none, "nop");
LANDING(at_paciasp, "paciasp\nautiasp");

static sigjmp_buf back;
static volatile sig_atomic_t code;
static void *volatile address;
static volatile uint64_t pc, btype;

static void caught(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal;
	code = info->si_code;
	address = info->si_addr;
	pc = uc->uc_mcontext.pc;
	btype = uc->uc_mcontext.pstate >> 10 & 3;
	siglongjmp(back, 1);
}

static void catch_all(void)
{
	struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGILL, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static void exclusives(void)
{
	uint64_t at = 7, sum = 0, tries = 0;
	const char *path = getenv("TRIES");

	for (int i = 0; i < 100; i++) {
		struct tries one = exclusive(&at, tries);

		sum += one.was;
		tries = one.tries;
	}
	printf("%lu %lu", at, sum);
	// An interrupt between its ends fails a store, with probes and without.
	if (path) {
		FILE *file = fopen(path, "w");

		if (!file || fprintf(file, "%lu", tries) < 0 || fclose(file))
			abort();
	}
	if (getauxval(AT_HWCAP) & HWCAP_ATOMICS) {
		uint64_t word = 9;

		printf(" %lu", lse(&word));
		printf(" %lu", word);
	}
	puts("");
}

static void authenticated(void)
{
	if (!(getauxval(AT_HWCAP) & HWCAP_PACA)) {
		puts("no pointer authentication");
		return;
	}
	for (int i = 0; i < 5; i++)
		retaa();
	printf("%lx\n", blraa(ldr_x));
	if (sigsetjmp(back, 1) == 0)
		spoilt();
	else
		printf("spoilt: %d %d\n", code, pc == (uint64_t)spoilt + 8 ? 1 : 2);
}

static void vectors(void)
{
	static uint64_t to[32];

	if (!(getauxval(AT_HWCAP) & HWCAP_SVE)) {
		puts("no SVE");
		return;
	}
	for (int i = 0; i < 10; i++)
		sve(to);
	for (unsigned i = 0; i < to[0] / 8; i++)
		printf("%lu ", to[i]);
	puts("");
}

static void landings(void)
{
	struct { const char *name; uint64_t (*f)(void *); } from[] = {
		{"br x1", by_br_x1}, {"br x16", by_br_x16}, {"blr", by_blr}, {"ret", by_ret}};
	struct { const char *name; uint64_t (*f)(void); } to[] = {
		{"c", at_c}, {"j", at_j}, {"jc", at_jc}, {"none", at_none}, {"paciasp", at_paciasp}};
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 5; j++) {
			printf("%s to %s: ", from[i].name, to[j].name);
			if (sigsetjmp(back, 1) == 0)
				printf("%lu\n", from[i].f(to[j].f));
			else
				printf("code %d, pc %d, address %d, type %lu\n", code,
				       pc == (uint64_t)to[j].f, address == (void *)to[j].f, btype);
		}
}

// Memory tags: IRG at +0, STG at +4, LDG at +8.
uint64_t tag(void *at);
FUNCTION(tag, "irg x0, x0\nstg x0, [x0]\nldg x0, [x0]\nret");
// A load that the tag check may refuse: +0.
uint64_t load(void *at);
FUNCTION(load, "ldr x0, [x0]\nret");

static void tags(void)
{
	const unsigned long sync = 1 | 1 << 1, all_tags = 0xfffeUL << 3;
	char *page;

	if (prctl(PR_SET_TAGGED_ADDR_CTRL, sync | all_tags, 0, 0, 0) != 0 ||
	    (page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | 0x20, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) ==
		    MAP_FAILED) {
		puts("no MTE");
		return;
	}
	for (int i = 0; i < 5; i++) {
		uint64_t tagged = tag(page);

		*(uint64_t *)tagged = i + 40;
		printf("%d %lu ", tagged != (uint64_t)page, load((void *)tagged));
		if (sigsetjmp(back, 1) == 0)
			printf("read %lu\n", load(page));
		else
			printf("code %d, pc %d\n", code, pc == (uint64_t)load);
	}
}

// Memory copy: prologue, main, epilogue at +0, +4, +8 (CPYP, CPYM, CPYE [x0]!, [x1]!, x2!).
void copy(void *to, const void *from, size_t size);
FUNCTION(copy, ".inst 0x1d010440\n.inst 0x1d410440\n.inst 0x1d810440\nret");

static void copies(void)
{
	static char from[5000], to[5000];

	if (!(getauxval(AT_HWCAP2) & 1UL << 43)) {
		puts("no MOPS");
		return;
	}
	for (size_t i = 0; i < sizeof from; i++)
		from[i] = i * 31;
	for (int i = 0; i < 10; i++) {
		memset(to, 0, sizeof to);
		copy(to, from, 100 * i + 3);
		printf("%d %d ", memcmp(to, from, 100 * i + 3), to[100 * i + 3]);
	}
	puts("");
}

int main(int argc, char **argv)
{
	const struct { const char *name; void (*run)(void); } groups[] = {
		{"literals", literals}, {"authenticated", authenticated}, {"exclusives", exclusives},
		{"vectors", vectors}, {"landings", landings}, {"tags", tags}, {"copies", copies}};

	setvbuf(stdout, NULL, _IOLBF, 0);
	catch_all();
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		if (argc < 2 || strcmp(argv[1], groups[i].name) == 0)
			groups[i].run();
	return 0;
}
