// One function for each instruction of Probe.swift, in its order, behind the table. A fault inside ends the probe
// with its vector.

    .section .text.probes, "ax"
    .code64

// run_probe(index): 0, or the fault's vector plus one.
    .globl run_probe
run_probe:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    movq %rsp, probe_stack
    movl %edi, %edi
    movl probe_table(, %rdi, 4), %eax
    callq *%rax
    xorl %eax, %eax
    movq $0, probe_stack
1:  popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    retq

// From the fault handler when a probe runs: %edi is the vector.
    .globl probe_faulted
probe_faulted:
    movq probe_stack, %rsp
    movq $0, probe_stack
    leal 1(%rdi), %eax
    jmp 1b

// burst(iterations): a loop of two instructions.
    .globl burst
burst:
1:  decq %rdi
    jnz 1b
    retq

probe_msr_body:
    movl probe_msr, %ecx
    rdmsr
    cmpl $0, probe_msr + 4
    je 1f
    wrmsr
1:  retq

p_cmpxchg:
    xorl %eax, %eax
    lock
    cmpxchgq %rcx, probe_area
    retq
p_cmpxchg16b:
    xorl %eax, %eax
    xorl %edx, %edx
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    lock
    cmpxchg16b probe_area
    retq
p_popcnt:
    popcntq %rsp, %rax
    retq
p_bit_scan:
    bsfq %rsp, %rax
    bsrq %rsp, %rax
    retq
p_string_move:
    movl $probe_area, %esi
    movl $probe_area + 64, %edi
    movl $32, %ecx
    rep movsb
    retq
p_swapgs:
    swapgs
    swapgs
    retq
p_iretq:
    movq %rsp, %rdx
    movl %ss, %eax
    pushq %rax
    pushq %rdx
    pushfq
    pushq $8
    leaq 1f(%rip), %rax
    pushq %rax
    iretq
1:  retq
p_load_task:
    movl $0x28, %eax
    movl $gdt_task, %edx
    movb $0x89, 5(%rdx)                 // available again, if it was loaded before
    ltr %ax
    retq
p_write_cr4:
    movq %cr4, %rax
    movq %rax, %cr4
    retq
p_write_cr8:
    movq %cr8, %rax
    movq %rax, %cr8
    retq
p_invalidate_page:
    invlpg probe_area
    retq
p_invpcid:
    movq $0, probe_area
    movq $0, probe_area + 8
    movl $2, %eax
    invpcid probe_area, %rax
    retq
p_writeback:
    wbinvd
    retq
p_clear_task_switched:
    clts
    retq
p_x87:
    fninit
    fnstcw probe_area
    retq
p_sse:
    movq %cr4, %rax
    orq $0x600, %rax
    movq %rax, %cr4
    movups probe_area, %xmm0
    movups %xmm0, probe_area + 64
    retq
p_xgetbv:
    movq %cr4, %rax
    orq $0x40000, %rax
    movq %rax, %cr4
    xorl %ecx, %ecx
    xgetbv
    orl $3, %eax
    xsetbv
    retq
p_xsave:
    movl $3, %eax
    xorl %edx, %edx
    xsave probe_area
    xrstor probe_area
    retq
p_xsaves:
    movl $3, %eax
    xorl %edx, %edx
    xsaves probe_area
    xrstors probe_area
    retq
p_rdtscp:
    rdtscp
    retq
p_smap:
    movq %cr4, %rax
    orq $0x200000, %rax
    movq %rax, %cr4
    stac
    clac
    andq $~0x200000, %rax
    movq %rax, %cr4
    retq
p_fences:
    mfence
    lfence
    sfence
    retq
p_rdgsbase:
    movq %cr4, %rax
    orq $0x10000, %rax
    movq %rax, %cr4
    rdgsbaseq %rax
    wrgsbaseq %rax
    retq
p_rdrand:
    rdrandq %rax
    retq
p_verw:
    movw $0x10, probe_area
    verw probe_area
    retq
p_cpuid:
    xorl %eax, %eax
    cpuid
    retq
p_syscall:
    movl $0xC0000080, %ecx
    rdmsr
    orl $1, %eax                        // system calls on
    wrmsr
    retq
p_lretq:
    pushq $8
    leaq 1f(%rip), %rax
    pushq %rax
    lretq
1:  retq

    .section .rodata.probes, "a"
    .balign 4
probe_table:
    .long probe_msr_body
    .long p_cmpxchg, p_cmpxchg16b, p_popcnt, p_bit_scan, p_string_move, p_swapgs, p_iretq, p_load_task
    .long p_write_cr4, p_write_cr8, p_invalidate_page, p_invpcid, p_writeback, p_clear_task_switched, p_x87, p_sse
    .long p_xgetbv, p_xsave, p_xsaves, p_rdtscp, p_smap, p_fences, p_rdgsbase, p_rdrand, p_verw, p_cpuid
    .long p_syscall, p_lretq

    .section .bss.probes, "aw", @nobits
    .balign 8
    .globl probe_stack
probe_stack: .skip 8
    .globl probe_msr
probe_msr: .skip 8

    .section .scratch, "aw", @nobits
    .balign 64
probe_area: .skip 4096
