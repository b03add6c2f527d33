// f SECONDS: the first thread ends, another goes on.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static int seconds;
__attribute__((noinline, noclone)) long work(long n) { __asm__ volatile(""); return n * 3 + 1; }
static void *run(void *arg) {
    long wrong = 0;
    for (time_t end = time(0) + seconds; time(0) < end; usleep(500)) for (long n = 0; n < 20; n++) wrong += work(n) != n * 3 + 1;
    printf("wrong %ld\n", wrong);
    exit(0);
}
int main(int argc, char **argv) {
    pthread_t thread;
    seconds = atoi(argv[1]);
    pthread_create(&thread, 0, run, 0);
    pthread_exit(0);
}
