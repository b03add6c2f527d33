// Three threads that call libc and work() all the time, until the input ends.
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

__attribute__((noinline)) int work(int a)
{
    asm volatile("");
    return a + 1;
}

static volatile int over;

static void *call(void *wrong)
{
    char text[64];
    for (int i = 0; !over; i++) {
        char *copy = malloc(100);
        snprintf(text, sizeof text, "%d %d", i, work(i));
        strcpy(copy, text);
        *(int *)wrong += atoi(strchr(copy, ' ')) != i + 1;
        free(copy);
        if (i % 64 == 0)
            nanosleep(&(struct timespec){0, 100000}, 0);
    }
    return 0;
}

int main(void)
{
    struct pollfd input = { 0, POLLIN, 0 };
    pthread_t threads[3];
    int wrong[3] = {0};
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], 0, call, &wrong[i]);
    while (poll(&input, 1, 1) == 0)
        work(0);
    over = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], 0);
    puts(wrong[0] + wrong[1] + wrong[2] ? "wrong" : "right");
    return 0;
}
