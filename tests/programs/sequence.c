// Restartable sequences that no section of the file describes: each adds one to a counter, and is
// begun again when the kernel has aborted it. A trap in one aborts it each time, and so does the loss
// of the CPU. The argument is a file that is told how many were aborted.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/rseq.h>

#define PROBED __attribute__((noinline, noclone, used))

static long counter, aborts;

// 1 if it was committed, 0 if it was aborted. The sequence is from `sequence_begins` to the addition,
// which commits it.
long sequence(struct rseq *area, long *what);
__asm__(".data\n.balign 32\nits_range:\n"
	"	.long 0, 0\n	.quad sequence_begins, 1f - sequence_begins, sequence_aborts\n"
	".text\n.balign 16\n.globl sequence\n.type sequence, @function\nsequence:\n"
	"	lea its_range(%rip), %rax\n	mov %rax, 8(%rdi)\n"
	"sequence_begins:\n	mov (%rsi), %rax\n	nop\n	lea 1(%rax), %rax\n	mov %rax, (%rsi)\n"
	"1:	mov $1, %eax\n	ret\n"
	"	.long 0x53053053\nsequence_aborts:\n	xor %eax, %eax\n	ret\n"
	".size sequence, .-sequence\n");

int main(int argc, char **argv)
{
	struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);

	if (!__rseq_size) {
		printf("no rseq\n");
		return 3;
	}
	while (counter < 1000) {
		if (!sequence(area, &counter) && ++aborts > 1000) {
			printf("aborted for ever\n");
			return 1;
		}
	}
	if (argc > 1) {
		FILE *file = fopen(argv[1], "w");

		if (!file || fprintf(file, "%ld\n", aborts) < 0 || fclose(file))
			return 2;
	}
	printf("counter %ld\n", counter);
	return 0;
}
