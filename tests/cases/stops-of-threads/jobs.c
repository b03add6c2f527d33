// `jobs SIGNAL SECONDS`: as in stops-are-seen-by-the-parent, with a child of four threads, two of which are blocked.
// Starts a child that calls f all the time; stops it by SIGNAL
// and continues it, again and again, and waits for each to be reported, for two seconds at most. Prints the child's id,
// and at the end what was not reported.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <pthread.h>
#include <unistd.h>

__attribute__((noipa)) int f(int a) { return a + 1; }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int seen(pid_t child, int what, int code, int status) {
    siginfo_t info;
    for (double end = now() + 2; now() < end; usleep(100)) {
        memset(&info, 0, sizeof info);
        if (waitid(P_PID, child, &info, what | WNOHANG) < 0)
            return 0;
        if (info.si_pid)
            return info.si_code == code && info.si_status == status;
    }
    return 0;
}

static void *call(void *nothing) {
    for (int i = 0;; i++)
        f(i);
    return nothing;
}

static void *wait_for_ever(void *nothing) {
    for (;;)
        pause();
    return nothing;
}

int main(int argc, char **argv) {
    int stop = atoi(argv[1]), stops = 0, continued = 0, n = 0;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        pthread_t thread;
        pthread_create(&thread, 0, call, 0);
        pthread_create(&thread, 0, wait_for_ever, 0);
        pthread_create(&thread, 0, wait_for_ever, 0);
        call(0);
    }
    setpgid(child, child);
    printf("%d\n", child), fflush(stdout);
    double end = now() + atof(argv[2]);
    while (now() < end && !stops && !continued) {
        kill(child, stop);
        stops += !seen(child, WSTOPPED, CLD_STOPPED, stop);
        usleep(500);
        kill(child, SIGCONT);
        continued += !seen(child, WCONTINUED, CLD_CONTINUED, SIGCONT);
        usleep(1000);
        n++;
    }
    kill(child, SIGKILL);
    waitpid(child, 0, 0);
    printf("not reported: stops %d, continuations %d\n", stops, continued);
    fprintf(stderr, "%d rounds\n", n);
    return 0;
}
