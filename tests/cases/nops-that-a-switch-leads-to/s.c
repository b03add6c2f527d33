// s TIMES: a switch each of whose cases begins with a NOP, as a static tracepoint (<sys/sdt.h>) leaves one.
#include <stdio.h>
#include <stdlib.h>
#define PROBE __asm__ volatile("nop")
__attribute__((noinline, noclone)) long choose(int which, long a, long b) {
    switch (which) {
    case 0: PROBE; return a;
    case 1: PROBE; return b;
    case 2: PROBE; return a + b;
    case 3: PROBE; return a - b;
    case 4: PROBE; return a & b;
    case 5: PROBE; return a | b;
    case 6: PROBE; return a ^ b;
    case 7: PROBE; return ~a;
    case 8: PROBE; return -b;
    default: __builtin_unreachable();
    }
}
int main(int argc, char **argv) {
    long bad = 0;
    for (long n = 0; n < atol(argv[1]); n++) {
        long a = n, b = n * 7, want[] = { a, b, a + b, a - b, a & b, a | b, a ^ b, ~a, -b };
        for (int which = 0; which < 9; which++) bad += choose(which, a, b) != want[which];
    }
    printf("bad %ld\n", bad);
}
