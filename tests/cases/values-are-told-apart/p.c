// Strings that are NULL, unreadable, long, not UTF-8; small types with rubbish in the rest of the register; nothing.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

__attribute__((noipa)) void text(int n, const char *s) { asm volatile("" ::"r"(n), "r"(s)); }
__attribute__((noipa)) signed char small(signed char c, _Bool b, short s, unsigned char u) { return c + b + s + u; }
__attribute__((noipa)) int minus(void) { return -1; }
__attribute__((noipa)) long far(long n) { return n; }

int main(void)
{
    static char longer[400];
    memset(longer, 'a', sizeof longer - 1);
    text(1, 0);
    text(2, (const char *)16);
    text(3, longer);
    text(4, "caf\xe9");
    char *hidden = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(hidden, "hidden");
    mprotect(hidden, 4096, PROT_NONE);
    text(6, hidden);
    text(5, "caf\xc3\xa9 \"x\"\n");
    signed char (*volatile call)(long, long, long, long) = (void *)small;
    call(0x12345600000000feL, 0x100L | 1, 0x7fff0000ffff8000L, 0xffffffffffffff80L);
    minus();
    far(-2);
    puts("done");
}
