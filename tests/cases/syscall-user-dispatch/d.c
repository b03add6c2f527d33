// d SECONDS: calls that are made outside of libc raise SIGSYS while the program wants that, and a handler answers them.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
static volatile char blocks;
static volatile long answered, others;
long call(long number);
extern char behind[];
__asm__(".globl call\n.type call, @function\ncall: mov %rdi, %rax\n syscall\n.globl behind\nbehind: ret\n.size call, .-call");
static void on_sys(int signal, siginfo_t *info, void *context) {
    blocks = 0;
    if (info->si_call_addr == behind) answered++; else others++;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4242;
}
__attribute__((noinline, noclone)) int work(int n) { __asm__ volatile(""); return n * 3 + 1; }
int main(int argc, char **argv) {
    struct sigaction action = { .sa_sigaction = on_sys, .sa_flags = SA_SIGINFO };
    long made = 0, wrong = 0;
    sigaction(SIGSYS, &action, 0);
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &blocks)) return 99;
    for (time_t end = time(0) + atoi(argv[1]); time(0) < end; made++) {
        blocks = 1;
        for (int n = 0; n < 20000; n++) wrong += work(n) != n * 3 + 1;
        wrong += call(39) != 4242;
        blocks = 0;
    }
    printf("wrong %ld, of other places %ld, missing %ld\n", wrong, others, made - answered);
}
