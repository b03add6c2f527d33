// Calls work 500 times, says that it is ready, waits for the end of its input, takes as many MiB of memory as its
// argument says, calls work 500 times more: 200 milliseconds later if it is to be left meanwhile.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline, noclone, used)) long work(long n)
{
	__asm__ volatile("" ::: "memory");
	return n + 1;
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 4096;
	long n = 0;
	char *memory;

	for (int i = 0; i < 500; i++)
		n = work(n);
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	memory = malloc(size);
	if (!memory)
		return puts("no memory"), 4;
	memset(memory, 1, size);
	for (int i = 0; i < 500; i++)
		n = work(n);
	printf("%ld\n", n);
	free(memory);
	return 3;
}
