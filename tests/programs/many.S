// Ten thousand functions, and a program that says ready, waits for its stdin to end, calls each
// of them, and prints the sum of what they return.
	.altmacro
	.macro	function n
	.balign	16
	.globl	f\n
	.type	f\n, @function
f\n:	push	%rbp
	mov	%rsp, %rbp
	lea	1(%rdi), %rax
	pop	%rbp
	ret
	.size	f\n, .-f\n
	.pushsection .data.rel.ro.table, "aw"
	.quad	f\n
	.popsection
	.endm

	.section .data.rel.ro.table, "aw"
table:
	.text
	.set	i, 0
	.rept	10000
	function %i
	.set	i, i + 1
	.endr

	.globl	main
	.type	main, @function
main:	push	%rbx
	push	%r12
	push	%r13
	lea	ready(%rip), %rdi
	call	puts@plt
	mov	stdout@GOTPCREL(%rip), %rax
	mov	(%rax), %rdi
	call	fflush@plt
	call	getchar@plt
	xor	%r12d, %r12d
	lea	table(%rip), %rbx
1:	mov	%r12, %rdi
	call	*(%rbx)
	mov	%rax, %r12
	add	$8, %rbx
	lea	table_end(%rip), %rax
	cmp	%rax, %rbx
	jne	1b
	mov	%r12, %rsi
	lea	format(%rip), %rdi
	xor	%eax, %eax
	call	printf@plt
	xor	%eax, %eax
	pop	%r13
	pop	%r12
	pop	%rbx
	ret
	.size	main, .-main

	.section .rodata
ready:	.asciz	"ready"
format:	.asciz	"%ld\n"
	.section .data.rel.ro.table, "aw"
table_end:
	.section .note.GNU-stack, "", @progbits
