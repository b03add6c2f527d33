// `kids HOW SECONDS`: forks children that are killed at birth, or exit at once.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
__attribute__((noipa)) int f(int a) { return a + 1; }
int main(int argc, char **argv) {
    time_t end = time(0) + atoi(argv[2]);
    long bad = 0, n = 0;
    while (time(0) < end) {
        int status;
        f(1);
        pid_t pid = !strcmp(argv[1], "vfork") ? vfork() : fork();
        if (pid == 0) { if (!strcmp(argv[1], "fork")) f(2); _exit(0); }
        if (!strcmp(argv[1], "kill")) { for (volatile int i = rand() % 2000; i; i--); kill(pid, SIGKILL); }
        if (waitpid(pid, &status, 0) != pid) bad++;
        else if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL : WEXITSTATUS(status)) bad++;
        n++;
    }
    printf("bad %ld\n", bad);
    fprintf(stderr, "%ld children\n", n);
    return bad != 0;
}
