// Functions that begin with every interesting kind of instruction. main calls each with several
// register files and prints a hash of everything that it leaves: registers, flags, vector
// registers, the stack below it, and memory.

#define PAD .balign 16
// A function, and its line in the table that main goes through.
#define F(name)	\
	.pushsection .rodata.str, "aMS", @progbits, 1; 9: .asciz #name; .popsection; \
	.pushsection .data.rel.ro.table, "aw"; .quad name, 9b; .popsection; \
	PAD; .globl name; .type name, @function; name
#define END(name) .size name, .-name

	.section .data.rel.ro.table, "aw"
table:
	.data
	.balign 64
memory:	.fill 64, 8, 0x0123456789abcdef
counter: .quad 0
here:	.quad 0
target_pointer: .quad target
	.section .data.rel.ro, "aw"
switch_table:
	.quad case0, case1, case2, case3
	.text

	PAD
	.type target, @function
target:	lea	7(%rdi), %rax
	ret
	END(target)

F(e_ret):	ret
	END(e_ret)
F(e_repz_ret):	repz ret
	END(e_repz_ret)
// ret imm pops an argument that the function pushed above its own return address.
F(e_ret_imm):	pop	%rax
	push	%rdi
	push	%rax
e_ret_imm_here:	ret	$8
	END(e_ret_imm)
F(e_nop):	nop
	ret
	END(e_nop)
F(e_nop5):	nopl	0(%rax,%rax,1)
	ret
	END(e_nop5)
F(e_nopw):	nopw	%cs:0(%rax,%rax,1)
	ret
	END(e_nopw)
F(e_endbr):	endbr64
	ret
	END(e_endbr)
F(e_push):	push	%rbp
	pop	%rax
	ret
	END(e_push)
F(e_push_r12):	push	%r12
	pop	%rax
	ret
	END(e_push_r12)
F(e_push_sp):	push	%rsp
	pop	%rax
	ret
	END(e_push_sp)
F(e_push_imm):	push	$-77
	pop	%rax
	ret
	END(e_push_imm)
F(e_push_mem):	push	memory(%rip)
	pop	%rax
	ret
	END(e_push_mem)
F(e_pop_sp):	mov	%rsp, %rax
	push	%rax
	pop	%rsp
	ret
	END(e_pop_sp)
F(e_pushf):	pushfq
	pop	%rax
	and	$0x8d5, %eax
	ret
	END(e_pushf)
F(e_popf):	push	%rsi
	andq	$0x8d5, (%rsp)
	popfq
	ret
	END(e_popf)
F(e_enter):	enter	$32, $0
	leave
	ret
	END(e_enter)
F(e_call):	call	target
	ret
	END(e_call)
F(e_call_next):	call	1f
1:	pop	%rax
	ret
	END(e_call_next)
F(e_call_reg):	lea	target(%rip), %rax
	push	%rbx
	call	*%rax
	pop	%rbx
	ret
	END(e_call_reg)
F(e_call_mem):	call	*target_pointer(%rip)
	ret
	END(e_call_mem)
F(e_call_sp):	lea	target(%rip), %rax
	push	%rax
	call	*(%rsp)
	pop	%rdx
	ret
	END(e_call_sp)
F(e_jmp):	jmp	target
	END(e_jmp)
F(e_jmp_short):	jmp	1f
	ud2
1:	mov	%rsi, %rax
	ret
	END(e_jmp_short)
F(e_jmp_mem):	jmp	*target_pointer(%rip)
	END(e_jmp_mem)
F(e_notrack):	lea	target(%rip), %rax
	notrack jmp *%rax
	END(e_notrack)
F(e_switch):	and	$3, %edi
	lea	switch_table(%rip), %rax
	jmp	*(%rax,%rdi,8)
case0:	mov	$100, %eax
	ret
case1:	mov	$101, %eax
	ret
case2:	mov	$102, %eax
	ret
case3:	mov	$103, %eax
	ret
	END(e_switch)

// Each condition after the same comparison.
#define CC(cc) F(e_j##cc): j##cc 1f; mov $1, %eax; cmp %rsi, %rdi; j##cc 1f; mov $2, %eax; \
	cmp %esi, %edi; .byte 0x3e; j##cc 1f; mov $3, %eax; 1: ret; END(e_j##cc)
CC(o);	CC(no);	CC(b);	CC(ae);	CC(e);	CC(ne);	CC(be);	CC(a)
CC(s);	CC(ns);	CC(p);	CC(np);	CC(l);	CC(ge);	CC(le);	CC(g)

// The long form.
F(e_jcc_near):	.byte 0x0f, 0x84; .long 1f - . - 4
	mov	$5, %eax
1:	ret
	END(e_jcc_near)
F(e_jrcxz):	jrcxz	1f
	mov	$1, %eax
1:	ret
	END(e_jrcxz)
F(e_jecxz):	jecxz	1f
	mov	$1, %eax
1:	ret
	END(e_jecxz)
F(e_loop):	mov	$9, %ecx
1:	inc	%rax
	loop	1b
	ret
	END(e_loop)
F(e_loop_first): loop	1f
	mov	$4, %eax
1:	ret
	END(e_loop_first)
F(e_loope):	loope	1f
	mov	$4, %eax
1:	ret
	END(e_loope)
F(e_loopne):	loopne	1f
	mov	$4, %eax
1:	ret
	END(e_loopne)
F(e_loopl):	addr32 loop	1f
	mov	$4, %eax
1:	ret
	END(e_loopl)

// Operands relative to the instruction.
F(e_rip_load):	mov	memory(%rip), %rax
	ret
	END(e_rip_load)
F(e_rip_store):	mov	%rdi, memory+8(%rip)
	ret
	END(e_rip_store)
F(e_rip_imm):	movl	$0x12345678, memory+16(%rip)
	ret
	END(e_rip_imm)
F(e_rip_cmp_imm): cmpb	$0x42, memory+3(%rip)
	ret
	END(e_rip_cmp_imm)
F(e_rip_cmpl_imm): cmpl	$0x12345678, memory+16(%rip)
	ret
	END(e_rip_cmpl_imm)
F(e_rip_cmpw_imm): cmpw	$0x1234, memory+16(%rip)
	ret
	END(e_rip_cmpw_imm)
F(e_rip_add):	add	%rdi, counter(%rip)
	ret
	END(e_rip_add)
F(e_rip_lea):	lea	memory(%rip), %rax
	ret
	END(e_rip_lea)
F(e_rip_lea32):	lea	memory(%rip), %eax
	ret
	END(e_rip_lea32)
F(e_rip_lea16):	lea	memory(%rip), %ax
	ret
	END(e_rip_lea16)
F(e_rip_sse):	movups	memory(%rip), %xmm0
	ret
	END(e_rip_sse)
F(e_rip_shuf):	pshufd	$0x1b, memory(%rip), %xmm1
	ret
	END(e_rip_shuf)
F(e_rip_vex):	vpaddd	memory(%rip), %xmm2, %xmm3
	ret
	END(e_rip_vex)
F(e_rip_xchg):	xchg	%rdi, memory+24(%rip)
	ret
	END(e_rip_xchg)
F(e_rip_cmpxchg): lock cmpxchg %rdi, memory+32(%rip)
	ret
	END(e_rip_cmpxchg)
F(e_rip_cmpxchg16b): lock cmpxchg16b memory+48(%rip)
	ret
	END(e_rip_cmpxchg16b)
F(e_rip_mul):	mulq	memory+40(%rip)
	ret
	END(e_rip_mul)
F(e_rip_bt):	btsl	$5, memory+56(%rip)
	ret
	END(e_rip_bt)
F(e_rip_shift):	shll	$3, memory+60(%rip)
	ret
	END(e_rip_shift)
F(e_rip_setcc):	setg	memory+64(%rip)
	ret
	END(e_rip_setcc)

// Prefixes that the kernel's uprobes do not hit.
F(e_lock):	lock incq counter(%rip)
	ret
	END(e_lock)
F(e_lock_reg):	lea	counter(%rip), %rdx
	lock xadd %rdi, (%rdx)
	ret
	END(e_lock_reg)
// Two entries: the second is behind the prefix.
F(e_past_lock):	cmp	$3, %rdi
	lea	counter(%rip), %rdx
	je	1f
	.byte	0xf0
1:	incq	(%rdx)
	ret
	END(e_past_lock)
F(e_cs):	.byte 0x2e
	mov	(%rsp), %rdx
	ret
	END(e_cs)
F(e_vex):	vpxor	%xmm1, %xmm2, %xmm3
	ret
	END(e_vex)
F(e_vex_load):	vmovdqu	(%rsp), %xmm4
	ret
	END(e_vex_load)
F(e_vzeroupper): vzeroupper
	ret
	END(e_vzeroupper)
F(e_sse):	pxor	%xmm5, %xmm6
	ret
	END(e_sse)
F(e_fs):	mov	%fs:0, %rax
	sub	%fs:16, %rax
	ret
	END(e_fs)

// Instructions that repeat.
F(e_movs):	lea	memory(%rip), %rsi
	lea	memory+128(%rip), %rdi
	mov	$64, %ecx
	rep movsb
	ret
	END(e_movs)
F(e_stos):	rep stosb
	ret
	END(e_stos)
F(e_scas):	lea	memory(%rip), %rdi
	mov	$16, %ecx
	mov	$0x45, %eax
	repne scasb
	ret
	END(e_scas)
F(e_cld):	cld
	ret
	END(e_cld)
F(e_std):	std
	cld
	ret
	END(e_std)

// Calls of the kernel: getppid changes rax, rcx and r11 only.
F(e_syscall):	mov	$-1, %eax
	syscall
	ret
	END(e_syscall)
F(e_syscall_first): syscall
	ret
	END(e_syscall_first)
F(e_cpuid):	xor	%eax, %eax
	mov	%rbx, %r8
	cpuid
	mov	%r8, %rbx
	ret
	END(e_cpuid)
F(e_xgetbv):	xor	%ecx, %ecx
	xgetbv
	ret
	END(e_xgetbv)
F(e_xlat):	lea	memory(%rip), %rbx
	and	$63, %eax
	xlatb
	ret
	END(e_xlat)
F(e_xchg_sp):	mov	%rsp, %rax
	xchg	%rsp, %rax
	ret
	END(e_xchg_sp)
F(e_pause):	pause
	ret
	END(e_pause)
F(e_x87):	fldpi
	fstpl	-16(%rsp)
	mov	-16(%rsp), %rax
	ret
	END(e_x87)
// The red zone belongs to the function.
F(e_red_zone):	mov	%rdi, -8(%rsp)
	mov	%rsi, -128(%rsp)
	mov	-8(%rsp), %rax
	add	-128(%rsp), %rax
	ret
	END(e_red_zone)
F(e_prefixes):	.byte 0x66, 0x66, 0x66, 0x66, 0x66
	nopw	%cs:0(%rax,%rax,1)
	ret
	END(e_prefixes)

// call_it(function, registers): loads the 16 words of `registers` (rax rcx rdx rbx - rbp rsi rdi
// r8..r15; the fourth is flags), calls, and stores them back.
	PAD
	.type call_it, @function
call_it:
	// What was called before leaves its own addresses below the stack.
	xor	%eax, %eax
	mov	$-512, %rcx
1:	mov	%rax, (%rsp,%rcx)
	add	$8, %rcx
	jne	1b
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	mov	%rdi, callee(%rip)
	mov	%rsi, registers(%rip)
	pushq	32(%rsi)
	popfq
	mov	0(%rsi), %rax
	mov	8(%rsi), %rcx
	mov	16(%rsi), %rdx
	mov	24(%rsi), %rbx
	mov	40(%rsi), %rbp
	mov	56(%rsi), %rdi
	mov	64(%rsi), %r8
	mov	72(%rsi), %r9
	mov	80(%rsi), %r10
	mov	88(%rsi), %r11
	mov	96(%rsi), %r12
	mov	104(%rsi), %r13
	mov	112(%rsi), %r14
	mov	120(%rsi), %r15
	mov	48(%rsi), %rsi
	call	*callee(%rip)
	mov	%rsi, saved(%rip)
	mov	registers(%rip), %rsi
	mov	%rax, 0(%rsi)
	mov	%rcx, 8(%rsi)
	mov	%rdx, 16(%rsi)
	mov	%rbx, 24(%rsi)
	mov	%rbp, 40(%rsi)
	mov	%rdi, 56(%rsi)
	mov	%r8, 64(%rsi)
	mov	%r9, 72(%rsi)
	mov	%r10, 80(%rsi)
	mov	%r11, 88(%rsi)
	mov	%r12, 96(%rsi)
	mov	%r13, 104(%rsi)
	mov	%r14, 112(%rsi)
	mov	%r15, 120(%rsi)
	mov	saved(%rip), %rax
	mov	%rax, 48(%rsi)
	// What the function left below the stack, before anything here writes there.
	lea	below(%rip), %rdi
	lea	-128(%rsp), %rsi
	mov	$16, %ecx
	rep movsq
	mov	registers(%rip), %rsi
	pushfq
	popq	32(%rsi)
	movups	%xmm0, vectors(%rip)
	movups	%xmm1, vectors+16(%rip)
	movups	%xmm3, vectors+32(%rip)
	movups	%xmm4, vectors+48(%rip)
	movups	%xmm6, vectors+64(%rip)
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	END(call_it)

	.bss
	.balign 16
callee:	.skip 8
registers: .skip 8
saved:	.skip 8
file:	.skip 128
vectors: .skip 80
below:	.skip 128
scratch: .skip 4096

	.text
// hash(rdi: from, rsi: bytes) continues eax.
	PAD
	.type hash, @function
hash:
	xor	%edx, %edx
1:	movzbl	(%rdi,%rdx), %ecx
	imul	$0x01000193, %eax, %eax
	xor	%ecx, %eax
	inc	%rdx
	cmp	%rsi, %rdx
	jne	1b
	ret
	END(hash)

	PAD
	.globl main
	.type main, @function
main:
	push	%rbx
	push	%r12
	push	%r13
	lea	table(%rip), %rbx
1:	xor	%r13d, %r13d
2:	// The register file of this round: small numbers, and pointers where they are needed.
	lea	file(%rip), %rdi
	mov	%r13, %rax
	mov	$16, %ecx
3:	imul	$0x5851f42d, %rax, %rax
	add	$0x14057b7f, %rax
	mov	%rax, %rdx
	and	$0xff, %edx
	mov	%rdx, -8(%rdi,%rcx,8)
	loop	3b
	// r13 rounds: equal, less, greater; counters 0, 1, many.
	mov	%r13, 8(%rdi)
	mov	%r13, 48(%rdi)
	movq	$3, 56(%rdi)
	movq	$-1, 0(%rdi)
	lea	scratch(%rip), %rdx
	lea	e_stos(%rip), %rax
	cmp	%rax, (%rbx)
	cmove	%rdx, %rax
	jne	4f
	mov	%rax, 56(%rdi)
4:	// Flags: what the round's number says, of CF PF AF ZF SF OF.
	imul	$0x251, %r13, %rax
	and	$0x8d5, %eax
	or	$0x202, %eax
	mov	%rax, 32(%rdi)
	mov	%rdi, %rsi
	mov	(%rbx), %rdi
	call	call_it
	mov	$0x811c9dc5, %eax
	lea	file(%rip), %rdi
	mov	$128, %esi
	call	hash
	lea	vectors(%rip), %rdi
	mov	$80, %esi
	call	hash
	lea	below(%rip), %rdi
	mov	$128, %esi
	call	hash
	lea	memory(%rip), %rdi
	mov	$528, %esi
	call	hash
	lea	scratch(%rip), %rdi
	mov	$512, %esi
	call	hash
	mov	%eax, %ecx
	mov	8(%rbx), %rsi
	mov	%r13, %rdx
	lea	format(%rip), %rdi
	xor	%eax, %eax
	call	printf@plt
	inc	%r13
	cmp	$8, %r13
	jne	2b
	add	$16, %rbx
	lea	table_end(%rip), %rax
	cmp	%rax, %rbx
	jne	1b
	xor	%eax, %eax
	pop	%r13
	pop	%r12
	pop	%rbx
	ret
	END(main)

	.section .rodata
format:	.asciz "%s %ld: %08x\n"
	.section .data.rel.ro.table, "aw"
table_end:
	.section .note.GNU-stack, "", @progbits
