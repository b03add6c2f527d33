// For two seconds: calls work, writes another immediate into its first instruction, calls it again, writes the first one
// back. With an argument, the text stays writable. Says how many results were wrong.
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

int work(void); // returns the immediate; has a page to itself
asm(".text; .p2align 12; .globl work; .type work, @function\n"
    "work: mov $1, %eax; nop; ret\n"
    ".size work, . - work; .p2align 12, 0xcc");

static int stays;

static void write_immediate(unsigned char value) {
    unsigned char *text = (unsigned char *)work;
    if (!stays) mprotect(text, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    *(volatile unsigned char *)(text + 1) = value;
    if (!stays) mprotect(text, 4096, PROT_READ | PROT_EXEC);
}

int main(int argc, char **argv) {
    long wrong = 0, calls = 0;
    (void)argv;
    if (argc > 1) mprotect((void *)work, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    stays = argc > 1;
    time_t end = time(0) + 2;
    while (time(0) < end)
        for (int value = 9; value >= 1; value -= 8) {
            write_immediate(value);
            for (int i = 0; i < 100; i++, calls++)
                wrong += work() != value;
        }
    printf("wrong %ld\n", wrong);
    fprintf(stderr, "%ld\n", calls);
    return 0;
}
