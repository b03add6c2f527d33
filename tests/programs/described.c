// A restartable sequence that a section describes, as librseq and tcmalloc do, called 1,000 times
// between two functions that are none.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/rseq.h>

#define PROBED __attribute__((noinline, noclone, used))

static long counter;

PROBED long first(long n)
{
	return n + 1;
}

PROBED long last(long n)
{
	return n * 2;
}

// 1 if it was committed, 0 if it was aborted.
long sequence(struct rseq *area, long *what);
__asm__(".pushsection __rseq_cs, \"aw\"\n.balign 32\nits_range:\n"
	"	.long 0, 0\n	.quad sequence_begins, 1f - sequence_begins, sequence_aborts\n.popsection\n"
	".text\n.balign 16\n.globl sequence\n.type sequence, @function\nsequence:\n"
	"	lea its_range(%rip), %rax\n	mov %rax, 8(%rdi)\n"
	"sequence_begins:\n	mov (%rsi), %rax\n	nop\n	lea 1(%rax), %rax\n	mov %rax, (%rsi)\n"
	"1:	mov $1, %eax\n	ret\n"
	"	.byte 0x0f, 0xb9, 0x3d\n	.long 0x53053053\nsequence_aborts:\n	xor %eax, %eax\n	ret\n"
	".size sequence, .-sequence\n");

int main(void)
{
	struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	long sum = 0;

	if (!__rseq_size) {
		printf("no rseq\n");
		return 3;
	}
	for (long n = 0; n < 1000; n++) {
		sum += first(n);
		while (!sequence(area, &counter)) {
		}
		sum += last(n);
	}
	printf("counter %ld, sum %ld\n", counter, sum);
	return 0;
}
