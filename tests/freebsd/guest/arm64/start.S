/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls, and where processes begin. */
	.text
	.globl	sys
sys:	mov	x8, x0			/* number, then the call's own six */
	mov	x0, x1
	mov	x1, x2
	mov	x2, x3
	mov	x3, x4
	mov	x4, x5
	mov	x5, x6
	svc	0
	b.cc	1f
	neg	x0, x0
1:	ret

	.globl	_start
_start:	bl	init_main		/* argc and argv are at x0 */
	brk	0

	.section .note.GNU-stack, "", %progbits
