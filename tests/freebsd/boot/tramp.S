/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands between QEMU's multiboot loader and a FreeBSD/amd64 kernel: one
 * page at physical 0x100000. Entered in 32-bit protected mode without paging,
 * %ebx at the multiboot information; hands the memory map over as SMAP
 * entries, turns on paging with the tables behind this page, and jumps to the
 * kernel's entry with modulep and kernend on the stack, as FreeBSD's own
 * loader does (C: `__exec`, amd64_tramp.S).
 *
 * The parameters are filled in by loader.rs; their offsets are named there.
 */
	.set	BASE, 0x100000
	.code32
header:
	.long	0x1badb002		/* multiboot magic */
	.long	0x00010002		/* addresses below; memory map wanted */
	.long	-(0x1badb002 + 0x00010002)
	.long	BASE			/* header_addr */
	.long	BASE			/* load_addr */
	.long	0			/* load_end_addr: the whole file */
	.long	0			/* bss_end_addr */
	.long	BASE + (start - header)	/* entry_addr */

stack:	.long	0			/* 0x20: a return address, never used */
modulep: .long	0			/* 0x24 */
kernend: .long	0			/* 0x28 */
pml4:	.long	0			/* 0x2c */
entry:	.quad	0			/* 0x30 */
smap:	.long	0			/* 0x38: where SMAP entries go */
smapmax: .long	0			/* 0x3c: how many fit */

start:
	cli
	cld
	movl	48(%ebx), %esi		/* mmap_addr */
	movl	44(%ebx), %edx		/* mmap_length */
	addl	%esi, %edx
	movl	BASE + (smap - header), %edi
	movl	BASE + (smapmax - header), %ebx
next:
	cmpl	%edx, %esi
	jae	paging
	decl	%ebx
	js	paging
	lodsl				/* length of what follows */
	leal	(%esi, %eax), %ebp
	movl	$5, %ecx		/* base, length, type: 20 bytes */
	rep movsl
	movl	%ebp, %esi
	jmp	next
paging:
	movl	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr4, %eax		/* CR4.PAE */
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	BASE + (pml4 - header), %eax
	movl	%eax, %cr3
	movl	%cr0, %eax		/* CR0.PG */
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	lgdt	BASE + (gdtr - header)
	ljmp	$8, $BASE + (long - header)
	.code64
long:
	movl	$BASE + (stack - header), %esp
	movq	entry(%rip), %rax
	jmp	*%rax

	.p2align 3
gdt:	.quad	0
	.quad	0x0020980000000000	/* 64-bit code */
	.quad	0x0000800000000000	/* data */
gdtr:	.word	gdtr - gdt - 1
	.long	BASE + (gdt - header)
