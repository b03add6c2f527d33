// `odd`: for half a second, functions in assembly sum numbers up with the stack pointer as a pointer into an array, each
// having got it there in another way. They return the sum, which is checked, as is the array. No signals come meanwhile.
#include <stdio.h>
#include <time.h>

#define WAYS(way) way(by_mov) way(by_xchg) way(by_lea) way(by_add) way(by_memory) way(by_cmov) way(by_movq) way(by_carry)
#define DECLARE(name) long name(const long *of, long n);
WAYS(DECLARE)
// With RSP in R8, and the loop: rdx is an element, rax the sum, rsi how many are left.
#define WAY(name, there) \
    asm(".text; .globl " #name "; .type " #name ", @function\n" #name ": mov %rsp, %r8; xor %eax, %eax\n" there "\n" \
        "1: pop %rdx; lea (%rax, %rdx), %rax; dec %rsi; jnz 1b\n" \
        "mov %r8, %rsp; ret; .size " #name ", . - " #name "\n");
WAY(by_mov, "mov %rdi, %rsp")
WAY(by_xchg, "xchg %rsp, %rdi")
WAY(by_lea, "lea 8(%rdi), %rsp; lea -8(%rsp), %rsp")
WAY(by_add, "sub %rsp, %rdi; add %rdi, %rsp")
WAY(by_memory, "mov %rdi, -8(%rsp); mov -8(%rsp), %rsp")
WAY(by_cmov, "test %rsi, %rsi; cmovne %rdi, %rsp")
WAY(by_movq, "movq %rdi, %xmm0; movq %xmm0, %rsp")
// A long number times 1: the carry, always 0, is alive all the way round.
asm(".text; .globl by_carry; .type by_carry, @function\n"
    "by_carry: mov %rsp, %r8; mov %rdi, %rsp; mov %rsi, %rcx; xor %eax, %eax\n"
    "1: pop %rdx; adc %rdx, %rax; lea -1(%rcx), %rcx; nop; jrcxz 2f; jmp 1b\n"
    "2: mov %r8, %rsp; ret; .size by_carry, . - by_carry\n");

#define N 500
static long array[4 * N];

int main(void) {
    long wrong = 0;
    for (int i = 0; i < 4 * N; i++)
        array[i] = i;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
#define CHECK(name) wrong += name(array + 3 * N, N) != 7L * N * N / 2 - N / 2;
        WAYS(CHECK)
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 500);
    for (int i = 0; i < 4 * N; i++)
        wrong += array[i] != i;
    printf("wrong %ld", wrong);
    return 0;
}
