// Stands for your program: it looks twenty keys up, and one of them takes long.

#include <stdio.h>
#include <unistd.h>

__attribute__((noinline)) int lookup(int key, const char *table)
{
    usleep(key == 7 ? 200000 : 1000);
    return table[0] + key;
}

int main(void)
{
    int sum = 0;
    for (int key = 0; key < 20; key++)
        sum += lookup(key, "users");
    printf("the sum is %d\n", sum);
    return 0;
}
