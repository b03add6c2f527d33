// `ex HOW N`: becomes itself again and again, N times, by its only thread or by one beside others; says whether f() was right.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((noipa)) int f(int a) { return a + 1; }
static char **args;
static void *idle(void *a) { for (;;) usleep(500); }
static void *again(void *a) { usleep(rand() % 2000); execv("/proc/self/exe", args); _exit(9); }
int main(int argc, char **argv) {
    char n[16];
    int left = atoi(argv[2]), sum = 0;
    for (int i = 0; i < 20; i++) sum = f(sum);
    if (sum != 20) return 8;
    if (left == 0) { puts("right"); return 0; }
    sprintf(n, "%d", left - 1);
    args = (char *[]){argv[0], argv[1], n, 0};
    if (!strcmp(argv[1], "thread")) {
        pthread_t t[4];
        for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, idle, 0);
        pthread_create(&t[3], 0, again, 0);
        pthread_join(t[3], 0);
    }
    usleep(rand() % 2000);
    execv("/proc/self/exe", args);
    return 9;
}
