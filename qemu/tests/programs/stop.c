/* A child stopped, read, written and stepped over a breakpoint by ptrace; and a function for a uprobe. */
#include <elf.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int sink;
__attribute__((noinline)) void probed(void) { sink++; }

static void calls(int n) {
    for (int i = 0; i < n; i++) probed();
}

static int stops(void) {
    int traps = 0, status;
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        for (int i = 0; i < 3; i++) {
#if defined(__aarch64__)
            __asm__ volatile("brk #0");
#else
            __asm__ volatile("int3");
#endif
        }
        _exit(sink == 42 ? 0 : 1);
    }
    waitpid(child, &status, 0);
    ptrace(PTRACE_POKEDATA, child, (void *)&sink, (void *)42L);
    ptrace(PTRACE_CONT, child, 0, 0);
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        traps++;
#if defined(__aarch64__)
        struct { uint64_t x[31], sp, pc, pstate; } regs;
        struct iovec iov = {&regs, sizeof regs};
        ptrace(PTRACE_GETREGSET, child, (void *)NT_PRSTATUS, &iov);
        regs.pc += 4;
        ptrace(PTRACE_SETREGSET, child, (void *)NT_PRSTATUS, &iov);
#endif
        ptrace(PTRACE_CONT, child, 0, 0);
    }
    printf("%d traps, child %d\n", traps, WEXITSTATUS(status));
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "calls")) calls(atoi(argv[2]));
    if (argc > 1 && !strcmp(argv[1], "stops")) stops();
    return 0;
}
