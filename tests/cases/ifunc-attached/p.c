// Calls strlen and memcpy, which libc chooses by IFUNC, 50 times each, when a line comes.
#include <stdio.h>
#include <string.h>

int main(void)
{
    char buffer[64] = "abc";
    volatile int sum = strlen(buffer);
    memcpy(buffer + 8, buffer, sum + 1);
    puts("ready");
    fflush(stdout);
    while (getchar() != '\n')
        ;
    for (int i = 0; i < 50; i++) {
        sum += strlen(buffer);
        memcpy(buffer + 8, buffer, 4);
    }
    printf("%d\n", sum);
    return 0;
}
