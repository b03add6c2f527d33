/* How far CLOCK_MONOTONIC moves over ten thousand turns of a loop of two instructions. */
#include <stdio.h>
#include <time.h>

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

int main(void) {
    long best = 1L << 62;
    for (int i = 0; i < 20; i++) {
        long before = now(), n = 10000;
#if defined(__aarch64__)
        __asm__ volatile("1: subs %0, %0, #1\n b.ne 1b" : "+r"(n) : : "cc");
#else
        __asm__ volatile("1: sub $1, %0\n jne 1b" : "+r"(n) : : "cc");
#endif
        long took = now() - before;
        if (took < best) best = took;
    }
    printf("%ld\n", best);
    return 0;
}
