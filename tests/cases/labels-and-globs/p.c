// A routine of assembly, which has no type and no size, called seven times.
#include <stdio.h>

asm(".text\n.globl rt_add_asm\nrt_add_asm:\n"
#if defined(__x86_64__)
    " lea 1(%rdi), %eax\n ret\n"
#else
    " add w0, w0, 1\n ret\n"
#endif
);
int rt_add_asm(int);

int main(void)
{
    int sum = 0;
    for (int i = 0; i < 7; i++)
        sum = rt_add_asm(sum);
    printf("%d\n", sum);
    return 0;
}
