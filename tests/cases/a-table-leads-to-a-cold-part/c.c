// `c`: a function jumps through a table, mostly inside of itself, and returns from a part that only the table names.
#include <stdio.h>
long f(long n, long cold);
/* loops n times through a table inside; the last way is in another section, which returns by itself */
__asm__(".text\n.globl f\n.type f,@function\nf:\n"
"	lea table(%rip), %rdx\n"
"1:	test %rdi, %rdi\n	je 3f\n	mov %rdi, %rax\n	and $1, %eax\n	dec %rdi\n	jmp 2f\n"
"3:	mov %rsi, %rax\n	add $2, %rax\n"
"2:	movslq (%rdx,%rax,4), %rax\n	add %rdx, %rax\n	jmp *%rax\n"
"even:	nop\n	jmp 1b\nodd:	nop\n	nop\n	jmp 1b\nwarm:	mov $1, %eax\n	ret\n.size f,.-f\n"
".section .text.unlikely,\"ax\"\ncold:	mov $2, %eax\n	ret\n"
".section .rodata\n.balign 4\ntable: .long even-table, odd-table, warm-table, cold-table\n.text\n");
int main(void){ long s=0; for(int i=0;i<300;i++) s+=f(20, i%10==9); printf("%ld\n",s); return 0; }
