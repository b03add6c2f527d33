// For two seconds: calls work, moves the page it lies in elsewhere by syscall(2), calls it there, and moves it back. So do
// programs that move their text onto huge pages. Says how many results were wrong.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int work(int); // returns its argument plus 1; has a page to itself
asm(".text; .p2align 12; .globl work; .type work, @function\n"
    "work: push %rbx; mov %edi, %ebx; lea 1(%rbx), %eax; pop %rbx; ret\n"
    ".size work, . - work; .p2align 12, 0xcc");

static volatile long number = SYS_mremap;

static void *move(char *from, char *to) {
    return (void *)syscall(number, from, 4096L, 4096L, (long)(MREMAP_MAYMOVE | MREMAP_FIXED), to);
}

static int wrong(int (*function)(int)) {
    int n = 0;
    for (int i = 0; i < 100; i++)
        n += function(i) != i + 1;
    return n;
}

int main(void) {
    char *home = (char *)work, *away = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long n = 0;
    time_t end = time(0) + 2;
    while (time(0) < end) {
        n += wrong(work);
        if (move(home, away) == MAP_FAILED)
            return 9;
        n += wrong((int (*)(int))away);
        if (move(away, home) == MAP_FAILED)
            return 9;
        away = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    printf("wrong %ld\n", n);
    return 0;
}
