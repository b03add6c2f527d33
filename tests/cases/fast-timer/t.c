// `t MICROSECONDS CALLS`: calls work, with a timer beside.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static void on(int signal) { (void)signal; }

__attribute__((noipa)) int work(int a) {
    volatile int sum = a;
    for (int i = 0; i < 50; i++)
        sum += i;
    return sum - 1225 + 1;
}

int main(int argc, char **argv) {
    (void)argc;
    signal(SIGALRM, on);
    int every = atoi(argv[1]), calls = 0;
    struct itimerval timer = {{0, every}, {0, every}};
    setitimer(ITIMER_REAL, &timer, 0);
    while (calls < atoi(argv[2]))
        calls = work(calls);
    printf("%d calls\n", calls);
    return 0;
}
