// Works, and counts SIGTSTP in a handler and SIGCONT in another, until it is told to end.
#include <signal.h>
#include <stdio.h>
static volatile int stops, conts, ended;
__attribute__((noipa)) int work(int a) { volatile int sum = a; for (int i = 0; i < 20; i++) sum += i; return sum; }
static void on(int signal) { if (signal == SIGCONT) conts++; else if (signal == SIGTSTP) stops++; else ended = 1; }
int main(void) {
    signal(SIGTSTP, on), signal(SIGCONT, on), signal(SIGTERM, on);
    puts("ready"), fflush(stdout);
    for (int calls = 0; !ended;) calls = work(calls);
    puts("ended");
    return 0;
}
