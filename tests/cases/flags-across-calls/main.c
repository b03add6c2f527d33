// `flags [THREADS]`: calls small functions with random flags and registers, and compares all that comes back with what the
// function's text says. Says how many calls gave something else.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state { uint64_t r[16], flags; };                // rax to r15 by number; r[4] is not used
void enter(void (*function)(void), struct state *state); // in asm.S
#define EACH(f) f(nothing) f(set_rax) f(set_r11) f(tail) f(rounds) f(carries) f(calls) f(by_register) f(set_df) f(turns)
#define DECLARE(name) void name(void);
EACH(DECLARE)

enum { CF = 1, ZF = 0x40, DF = 0x400 };

static void should(void (*f)(void), struct state *s) {
    if (f == set_rax || f == tail) s->r[0] = s->r[7] + 1;
    if (f == set_r11) s->r[11] = 77;
    if (f == carries) s->r[0] = s->r[7] + (s->flags & CF), s->flags |= CF;
    if (f == set_df) s->flags |= DF;
    if (f == turns) s->flags ^= CF;
    if (f == rounds) s->r[1] = 0;
}

static __thread uint64_t seed;
static uint64_t number(void) { return seed = seed * 6364136223846793005u + 1442695040888963407u, seed >> 11 ^ seed << 40; }

static void *work(void *which) {
    uint64_t bad = 0;
    seed = (uintptr_t)which + 1;
    for (int i = 0; i < 3000; i++) {
#define CALL(name) { \
        struct state is, was; \
        for (int n = 0; n < 16; n++) is.r[n] = n == 1 ? 1 + number() % 3 : number(); \
        is.r[4] = 0; \
        is.flags = (number() & 0xcd5) | 0x202; \
        was = is; \
        enter(name, &is); \
        should(name, &was); \
        if (name == carries || name == rounds) was.flags = is.flags & ~(uint64_t)(CF | DF) | (was.flags & (CF | DF)); \
        bad += memcmp(&is, &was, sizeof is) != 0; }
        EACH(CALL)
    }
    return (void *)bad;
}

int main(int count, char **args) {
    int threads = count > 1 ? atoi(args[1]) : 0;
    pthread_t thread[8];
    uint64_t bad = 0;
    for (long i = 0; i < threads; i++) pthread_create(&thread[i], 0, work, (void *)(i + 1));
    bad += (uint64_t)work(0);
    for (int i = 0; i < threads; i++) {
        void *its;
        pthread_join(thread[i], &its);
        bad += (uint64_t)its;
    }
    printf("wrong %lu", bad);
    return 0;
}
