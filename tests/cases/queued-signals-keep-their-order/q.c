// A thread queues real-time signals, numbered, to the first thread and to the process, and SIGUSR1 to the first
// thread; that works all the time. Says whether each came, once, in its order, with its number and its sender.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile int seen[2], wrong, users, ended;
static pthread_t first;

__attribute__((noipa)) int work(int a) {
    volatile int sum = a;
    for (int i = 0; i < 20; i++)
        sum += i;
    return sum;
}

static void queued(int signal, siginfo_t *info, void *context) {
    (void)context;
    int which = signal - SIGRTMIN - 2;
    if (info->si_code != SI_QUEUE || info->si_pid != getpid() || info->si_value.sival_int != seen[which])
        wrong++;
    seen[which]++;
}

static void user(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    users++;
    if (info->si_code != SI_TKILL || info->si_pid != getpid() || info->si_errno != 0)
        wrong++;
}

static void *send(void *arg) {
    int count = *(int *)arg;
    for (int n = 0; n < count; n++) {
        union sigval value = {.sival_int = n};
        while (pthread_sigqueue(first, SIGRTMIN + 2, value))
            usleep(100);
        while (sigqueue(getpid(), SIGRTMIN + 3, value))
            usleep(100);
        if (n % 8 == 0)
            pthread_kill(first, SIGUSR1);
        while (seen[0] < n - 16 || seen[1] < n - 16)
            usleep(100);
    }
    while (seen[0] < count || seen[1] < count)
        usleep(1000);
    ended = 1;
    return 0;
}

int main(int argc, char **argv) {
    int count = atoi(argv[1]);
    struct sigaction action = {.sa_sigaction = queued, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGRTMIN + 2, &action, 0);
    sigaction(SIGRTMIN + 3, &action, 0);
    action.sa_sigaction = user;
    sigaction(SIGUSR1, &action, 0);
    first = pthread_self();
    sigset_t process;
    sigemptyset(&process);
    sigaddset(&process, SIGRTMIN + 3);
    pthread_sigmask(SIG_BLOCK, &process, 0);
    pthread_t thread;
    pthread_create(&thread, 0, send, &count);
    pthread_sigmask(SIG_UNBLOCK, &process, 0);
    for (int calls = 0; !ended;)
        calls = work(calls);
    pthread_join(thread, 0);
    fprintf(stderr, "%d and %d queued, %d others\n", seen[0], seen[1], users);
    printf("wrong %d, %d and %d of %d\n", wrong, seen[0], seen[1], count);
    return 0;
}
