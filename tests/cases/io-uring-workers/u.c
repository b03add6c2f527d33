// u SECONDS SQPOLL: has two reads of io_uring that wait, which kernel threads of this process do, and calls work.
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
__attribute__((noinline, noclone, used)) long work(long n) {
    __asm__ volatile("");
    return n * 7 + 3;
}
int main(int argc, char **argv) {
    struct io_uring_params p = { .flags = argc > 2 && atoi(argv[2]) ? IORING_SETUP_SQPOLL : 0, .sq_thread_idle = 100000 };
    int fd = syscall(SYS_io_uring_setup, 8, &p), pipes[2];
    static char buffer[8];
    if (fd < 0 || pipe(pipes) < 0) return 99;
    char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
    struct io_uring_sqe *sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
    for (int i = 0; i < 2; i++) {
        sqes[i] = (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = pipes[0], .addr = (long)buffer, .len = 8, .flags = IOSQE_ASYNC };
        ((unsigned *)(sq + p.sq_off.array))[i] = i;
        atomic_store((_Atomic unsigned *)(sq + p.sq_off.tail), i + 1);
    }
    syscall(SYS_io_uring_enter, fd, 2, 0, 0, 0, 0);
    long n = 0, bad = 0;
    for (time_t end = time(0) + atoi(argv[1]); time(0) < end; n++, usleep(1000)) bad += work(n) != n * 7 + 3;
    printf("bad %ld\n", bad);
}
