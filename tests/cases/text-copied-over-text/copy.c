// For two seconds: copies the page that work lies in into fresh memory and moves that over the page, as programs do that put
// their text onto huge pages; and calls work between. Says how many results were wrong.
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

int work(int); // returns its argument plus 1; has a page to itself
asm(".text; .p2align 12; .globl work; .type work, @function\n"
    "work: push %rbx; mov %edi, %ebx; lea 1(%rbx), %eax; pop %rbx; ret\n"
    ".size work, . - work; .p2align 12, 0xcc");

int main(void) {
    long wrong = 0;
    time_t end = time(0) + 2;
    while (time(0) < end) {
        for (int i = 0; i < 100; i++)
            wrong += work(i) != i + 1;
        char *copy = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(copy, (char *)work, 4096);
        mprotect(copy, 4096, PROT_READ | PROT_EXEC);
        if (mremap(copy, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)work) == MAP_FAILED)
            return 9;
    }
    printf("wrong %ld\n", wrong);
    return 0;
}
