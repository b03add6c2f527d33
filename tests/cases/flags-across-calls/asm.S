	.text
	.macro function name
	.p2align 4, 0xcc
	.globl \name
	.type \name, @function
\name:
	.endm
	.macro ends name
	.size \name, . - \name
	.endm

# enter(function, state): all registers and flags from there, the call, and all back.
	function enter
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rsi
	push %rdi
	push 128(%rsi)
	mov (%rsi), %rax
	mov 8(%rsi), %rcx
	mov 16(%rsi), %rdx
	mov 24(%rsi), %rbx
	mov 40(%rsi), %rbp
	mov 56(%rsi), %rdi
	mov 64(%rsi), %r8
	mov 72(%rsi), %r9
	mov 80(%rsi), %r10
	mov 88(%rsi), %r11
	mov 96(%rsi), %r12
	mov 104(%rsi), %r13
	mov 112(%rsi), %r14
	mov 120(%rsi), %r15
	mov 48(%rsi), %rsi
	popf
	call *(%rsp)
	pushf
	push %rsi
	mov 24(%rsp), %rsi
	mov %rax, (%rsi)
	mov %rcx, 8(%rsi)
	mov %rdx, 16(%rsi)
	mov %rbx, 24(%rsi)
	mov %rbp, 40(%rsi)
	mov %rdi, 56(%rsi)
	mov %r8, 64(%rsi)
	mov %r9, 72(%rsi)
	mov %r10, 80(%rsi)
	mov %r11, 88(%rsi)
	mov %r12, 96(%rsi)
	mov %r13, 104(%rsi)
	mov %r14, 112(%rsi)
	mov %r15, 120(%rsi)
	pop 48(%rsi)
	pop 128(%rsi)
	cld
	pop %rdi
	pop %rsi
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	ends enter

# What each does is in main.c. Where flags are not named they come back as they were.
	function nothing
	nop
	nop
	nop
	nop
	ret
	ends nothing
	function set_rax
	lea 1(%rdi), %rax
	ret
	nop
	ends set_rax
	function set_r11
	mov $77, %r11d
	ret
	ends set_r11
	function tail
	jmp set_rax
	ends tail
	function rounds
1:	lea -1(%rcx), %rcx
	nop
	jrcxz 2f
	jmp 1b
2:	ret
	ends rounds
	function carries
	mov %rdi, %rax
	adc $0, %rax
	stc
	ret
	ends carries
	function calls
	call nothing
	nop
	ret
	ends calls
	function by_register
	push %rbx
	lea nothing(%rip), %rbx
	call *%rbx
	pop %rbx
	ret
	ends by_register
	function set_df
	std
	nop
	nop
	nop
	nop
	ret
	ends set_df
	function turns
	cmc
	nop
	nop
	nop
	nop
	ret
	ends turns
	.section .note.GNU-stack, "", @progbits
