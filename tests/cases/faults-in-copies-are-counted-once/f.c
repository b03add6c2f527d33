// `f KIND`: load loads from a page that may not be read, 40 times over, and its fault is dealt with in one of several
// ways. Says how often load was called and how often it faulted.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

int load(const int *from); // one instruction that faults, and nothing before it
#if defined __x86_64__
asm(".text; .globl load; .type load, @function\n"
    "load: mov (%rdi), %eax; nop; nop; nop; nop; ret\n"
    ".size load, . - load");
#else
asm(".text; .globl load; .type load, %function\n"
    "load: ldr w0, [x0]; nop; nop; nop; nop; ret\n"
    ".size load, . - load");
#endif
enum { COUNT = 40 };
static int *page, *other, faults, calls;
static sigjmp_buf back;
static ucontext_t outer, inner;
static char *kind, stack[65536], alternate[65536];

static void timer(int signal) { (void)signal; }

static void mend(int signal, siginfo_t *info, void *context) {
    (void)signal;
    faults++;
    if (!strcmp(kind, "longjmp"))
        siglongjmp(back, 1);
    if (!strcmp(kind, "nested") && info->si_addr == page)
        calls++, load(other); // which faults as well
    if (!strcmp(kind, "same"))
        calls++, load(&faults); // the probed function, in its own handler
    if (!strcmp(kind, "swap"))
        swapcontext(&inner, &outer);
    if (!strcmp(kind, "calls"))
        for (int i = 0; i < 50; i++)
            getppid();
    if (!strcmp(kind, "fork"))
        if (fork() == 0)
            _exit(0);
    if (!strcmp(kind, "over")) {
#if defined __x86_64__
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
#else
        ((ucontext_t *)context)->uc_mcontext.pc += 4;
#endif
        return;
    }
    mprotect(info->si_addr == page ? page : other, 4096, PROT_READ);
}

static void shut(void) { mprotect(page, 4096, PROT_NONE), mprotect(other, 4096, PROT_NONE); }

static void within(void) {
    for (;;) {
        shut(), calls++, load(page);
        swapcontext(&inner, &outer);
    }
}

int main(int argc, char **argv) {
    kind = argv[1];
    page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    other = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (argc > 2) {
        stack_t alt = {.ss_sp = alternate, .ss_size = sizeof alternate};
        sigaltstack(&alt, 0);
        action.sa_flags |= SA_ONSTACK;
    }
    sigaction(SIGSEGV, &action, 0);
    signal(SIGALRM, timer);
    if (!strcmp(kind, "timer"))
        ualarm(300, 300);
    getcontext(&inner);
    inner.uc_stack.ss_sp = stack, inner.uc_stack.ss_size = sizeof stack;
    makecontext(&inner, within, 0);
    for (volatile int i = 0; i < COUNT; i++) {
        if (!strcmp(kind, "swap")) {
            swapcontext(&outer, &inner); // as far as the fault
            calls++, load(&faults);
            swapcontext(&outer, &inner); // back from the handler
            continue;
        }
        shut();
        if (!strcmp(kind, "longjmp") && sigsetjmp(back, 1))
            continue;
        calls++, load(page);
    }
    printf("%d calls, %d faults\n", calls, faults);
    return 0;
}
