// What users ask of calls: overloads, formats, descriptors, callers, registers.

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace geo {
struct Shape {
    int sides;
};
__attribute__((noinline)) int over(int n) {
    asm volatile("");
    return n + 1;
}
__attribute__((noinline)) int over(double x) {
    asm volatile("");
    return (int)(x * 2);
}
__attribute__((noinline)) int over(const char *text, const Shape &shape) {
    asm volatile("");
    return (int)strlen(text) + shape.sides;
}
} // namespace geo

// Where its argument is in a register that the test knows.
extern "C" __attribute__((noinline)) int middle(int n) {
#ifdef __x86_64__
    asm volatile(".globl in_the_middle\nmov %0, %%ebx\nin_the_middle: nop\n" : : "r"(n) : "rbx");
#else
    asm volatile(".globl in_the_middle\nmov w20, %w0\nin_the_middle: nop\n" : : "r"(n) : "x20");
#endif
    return n;
}

extern "C" __attribute__((noinline)) int first(int n) {
    int got = geo::over(n);
    asm volatile("");
    return got;
}

extern "C" __attribute__((noinline)) int second(int n) {
    int got = geo::over(n) + 1;
    asm volatile("");
    return got;
}

// Arguments in every kind of place: the last two integers and the last double are on the stack of x86-64.
extern "C" __attribute__((noinline)) double mixed(int a, double x, float y, long b, long c, long d,
                                                  long e, long f, long g, short h, double z) {
    asm volatile("");
    return a + x + (double)y + (double)(b + c + d + e + f + g) + h + z;
}

int main() {
    char text[128];
    for (int n = 0; n < 100; n++) {
        mixed(n, n * 0.5, (float)n * 0.25f, n + 1, n + 2, n + 3, n + 4, n + 5, -n, (short)-n, n * 1.5);
    }
    geo::over(1);
    geo::over(2.5);
    geo::over("abc", geo::Shape{4});
    for (int n = 0; n < 5; n++) {
        middle(n * 7);
        first(n);
        second(10 + n);
    }
    snprintf(text, sizeof text, "%d %s %.1f %c %lx %*d %% %u %u %u %f\n", -7, "abc", 2.5, 'x', 255L,
             3, 5, 6u, 7u, 8u, 0.5);
    fputs(text, stdout);
    int file = open("/etc/passwd", O_RDONLY);
    if (read(file, text, 4) != 4) {
        return 1;
    }
    close(file);
    return close(-1) == -1 ? 0 : 1;
}
