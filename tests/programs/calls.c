// Functions that are called a known number of times; the program says so itself.
#include <stdio.h>
#include <stdlib.h>

#define PROBED __attribute__((noinline, noclone, used))

static long leafs, recursions;

PROBED long leaf(long n)
{
	leafs++;
	return n * n;
}

// A tail call: compiled to a jump.
PROBED long tail(long n)
{
	if (n < 0)
		abort();
	return leaf(n);
}

PROBED long recurse(long n)
{
	long below = 0;

	recursions++;
	if (n)
		below = recurse(n - 1) + 1;
	// Keeps the compiler from making a loop of it.
	__asm__ volatile("" ::: "memory");
	return below * below % 7;
}

PROBED void never(void)
{
	puts("never");
}

// Entries that the kernel cannot probe.
void locked(long *at);
void vector(void);
#ifdef __x86_64__
__asm__(".text\n"
	".globl locked\n.type locked, @function\nlocked:\n"
	"	lock incq (%rdi)\n	ret\n.size locked, .-locked\n"
	".globl vector\n.type vector, @function\nvector:\n"
	"	vpxor %xmm1, %xmm1, %xmm1\n	ret\n.size vector, .-vector\n");
#else
// Both begin with what the kernel refuses: accesses relative to the PC. No exclusives: a uprobe
// between them makes them fail for ever.
__asm__(".text\n"
	".globl locked\n.type locked, @function\nlocked:\n"
	"	prfm pldl1keep, 1f\n1:	ldr x1, [x0]\n	add x1, x1, #1\n	str x1, [x0]\n	ret\n"
	".size locked, .-locked\n"
	".globl vector\n.type vector, @function\nvector:\n"
	"	ldr x1, 1f\n	ldr q1, [sp]\n	ret\n.size vector, .-vector\n.balign 16\n1:	.quad 1, 2\n");
#endif

int main(int argc, char **argv)
{
	long calls = argc > 1 ? atol(argv[1]) : 10;
	long depth = argc > 2 ? atol(argv[2]) : 7;
	long sum = 0, lock = 0;

	for (long i = 0; i + 1 < calls; i++)
		sum += leaf(i);
	sum += tail(calls - 1);
	sum += recurse(depth);
	for (long i = 0; i < calls; i++) {
		locked(&lock);
		vector();
	}
	printf("leaf %ld\nrecurse %ld\nlocked %ld\nsum %ld\n", leafs, recursions, lock, sum);
	return 0;
}
