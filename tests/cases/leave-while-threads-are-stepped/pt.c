// `pt SECONDS`: two threads call work all the time; ends with "fine".
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
__attribute__((noipa)) long work(long a) { return a + 1; }
static volatile int stop;
static void *again(void *a) {
    for (long n = 0; !stop;) n = work(n);
    return a;
}
int main(int argc, char **argv) {
    pthread_t t;
    time_t end = time(0) + atoi(argv[1]);
    pthread_create(&t, 0, again, 0);
    for (long n = 0; time(0) < end;) n = work(n);
    stop = 1;
    pthread_join(t, 0);
    puts("fine");
    return 0;
}
