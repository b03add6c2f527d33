// Calls that end in every way: by a return, a throw, exec in a child with memory of its own, exit of a thread.
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" __attribute__((noinline, noclone)) int thrower(int n)
{
    asm volatile("");
    if (n == 2)
        throw n;
    return n + 10;
}

extern "C" __attribute__((noinline, noclone)) int deeper(int n)
{
    volatile char room[200];
    room[n] = 1;
    return thrower(n) + room[n];
}

extern "C" __attribute__((noinline, noclone)) int runner(int n)
{
    execl("/bin/true", "true", (char *)0);
    return n;
}

extern "C" __attribute__((noinline, noclone)) void leaver(int n)
{
    asm volatile("");
    pthread_exit(0);
}

extern "C" __attribute__((noinline, noclone)) int last(int n)
{
    asm volatile("");
    return n;
}

static void *thread(void *)
{
    leaver(6);
    return 0;
}

int main()
{
    for (int n = 1; n < 4; n++) {
        try {
            deeper(n);
        } catch (int) {
        }
    }
    if (pid_t child = fork())
        waitpid(child, 0, 0);
    else
        runner(5);
    pthread_t handle;
    pthread_create(&handle, 0, thread, 0);
    pthread_join(handle, 0);
    last(7);
    puts("done");
}
