// `far`: 20,000 times through a far JMP, which says in memory which code segment and address it goes to; and back.
#include <stdint.h>
#include <stdio.h>

struct __attribute__((packed)) pointer { uint32_t at; uint16_t segment; };
extern long through(long x, const struct pointer *to); // x + 1
extern const char landed[];
asm(".text; .globl through, landed; .type through, @function; .type landed, @function\n"
    "through: lea 1(%rdi), %rax; ljmp *(%rsi); .size through, . - through\n"
    "landed: nop; nop; nop; nop; nop; ret; .size landed, . - landed\n");

int main(void) {
    uint16_t segment;
    long wrong = 0;
    asm("mov %%cs, %0" : "=r"(segment));
    struct pointer to = {(uint32_t)(uintptr_t)landed, segment};
    for (long i = 0; i < 20000; i++)
        wrong += through(i, &to) != i + 1;
    printf("wrong %ld", wrong);
    return 0;
}
