// A program with a handler of SIGTRAP and the two-byte form of INT 3: where the handler sees it, and what comes behind.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
__attribute__((noinline, noclone)) int work(int n) { __asm__ volatile(""); return n * 3 + 1; }
long traps(void);
extern char behind[];
__asm__(".globl traps\n.type traps, @function\ntraps: .byte 0xcd, 3\n.globl behind\nbehind: mov $7, %eax\n ret\n.size traps, .-traps");
static volatile int count;
static volatile long at;
static void on_trap(int signal, siginfo_t *info, void *context) {
    count++, at = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] - (long)behind;
}
int main(void) {
    struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
    sigaction(SIGTRAP, &action, 0);
    for (int n = 0; n < 3; n++) {
        int right = work(n) == n * 3 + 1;
        long result = traps();
        printf("%d %d %ld %ld;", right, count, result, at);
    }
    puts("");
}
