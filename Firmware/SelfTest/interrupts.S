// Interrupts are taken in windows only: the flag is set for a while inside a leaf function, so a handler
// may use every caller-saved register, and it ends the window by returning to the window's caller. No IRET is
// needed (hosts that emulate kernel code lack it in long mode) and no red zone is in danger.

    .section .text.interrupts, "ax"
    .code64

// One window: an interrupt that is pending is taken, at most one. A processor takes it behind the second instruction.
// A KVM that emulates kernel code looks for interrupts only now and then: a window of two instructions is missed
// hundreds of times on average and thousands at worst, one of this width a dozen times at most.
    .globl interrupt_window
interrupt_window:
    sti
    .rept 128
    nop
    .endr
    cli
    retq

// One window that waits in HLT for the interrupt.
    .globl interrupt_window_halted
interrupt_window_halted:
    sti
    hlt
    cli
    retq

// For each vector 16 bytes: the CPU pushed an error code for some exceptions, the others push a zero.
    .balign 16
    .globl interrupt_stubs
interrupt_stubs:
    .set vector, 0
    .rept 128
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    pushq $0
    .endif
    pushq $vector
    jmp interrupt_common
    .set vector, vector + 1
    .endr

// Stack: vector, error code, rip, cs, rflags, rsp, ss.
interrupt_common:
    popq %rdi
    popq %rsi
    cmpl $32, %edi
    jb fault
    lock
    incl interrupt_counts(, %rdi, 4)
    cmpl $0x7F, %edi                    // spurious: not acknowledged
    je 2f
    movq local_apic, %rdx
    testq %rdx, %rdx
    jz 1f
    movl $0, 0xB0(%rdx)                 // end of interrupt, memory-mapped
    jmp 2f
1:  movl $0x80B, %ecx                   // end of interrupt, x2APIC
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
2:  movq 24(%rsp), %rsp
    retq

fault:
    cmpq $0, probe_stack
    jne probe_faulted
    movq (%rsp), %rdx
    movq %cr2, %rcx
    andq $-16, %rsp
    callq guest_fault
3:  cli
    hlt
    jmp 3b

    .globl load_idt
load_idt:
    lidt idt_pointer
    retq

// A table with no entries, then an exception: the third fault in a row.
    .globl triple_fault
triple_fault:
    lidt empty_idt_pointer
    ud2
    retq

    .section .data.idt, "aw"
    .balign 8
    .globl idt_pointer
idt_pointer:
    .word 128 * 16 - 1
    .quad interrupt_table
    .balign 8
empty_idt_pointer:
    .word 0
    .quad 0

    .section .bss.interrupts, "aw", @nobits
    .balign 16
    .globl interrupt_table
interrupt_table: .skip 128 * 16
    .globl interrupt_counts
interrupt_counts: .skip 128 * 4
    .balign 8
// The local APIC's registers, or 0 in x2APIC mode.
    .globl local_apic
local_apic: .skip 8
