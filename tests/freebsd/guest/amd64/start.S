/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls, and where processes begin. */
	.text
	.globl	sys
sys:	movq	%rdi, %rax		/* number, then the call's own six */
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	movq	8(%rsp), %r9
	syscall
	jnc	1f
	negq	%rax
1:	ret

	.globl	_start
_start:	andq	$-16, %rsp
	call	init_main		/* argc and argv are at %rdi */
	hlt

	.section .note.GNU-stack, "", %progbits
