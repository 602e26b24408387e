// Instructions that Swift has no words for, as functions of the C calling convention. Memory goes through here
// too when a device looks at it: each call is exactly one access, in program order.

    .section .text.instructions, "ax"
    .code64

    .macro function name
    .globl \name
\name:
    .endm

function port_read8
    movl %edi, %edx
    xorl %eax, %eax
    inb %dx, %al
    retq
function port_read16
    movl %edi, %edx
    xorl %eax, %eax
    inw %dx, %ax
    retq
function port_read32
    movl %edi, %edx
    inl %dx, %eax
    retq
function port_write8
    movl %edi, %edx
    movl %esi, %eax
    outb %al, %dx
    retq
function port_write16
    movl %edi, %edx
    movl %esi, %eax
    outw %ax, %dx
    retq
function port_write32
    movl %edi, %edx
    movl %esi, %eax
    outl %eax, %dx
    retq

function memory_read8
    movzbl (%rdi), %eax
    retq
function memory_read16
    movzwl (%rdi), %eax
    retq
function memory_read32
    movl (%rdi), %eax
    retq
function memory_read64
    movq (%rdi), %rax
    retq
function memory_write8
    movb %sil, (%rdi)
    retq
function memory_write16
    movw %si, (%rdi)
    retq
function memory_write32
    movl %esi, (%rdi)
    retq
function memory_write64
    movq %rsi, (%rdi)
    retq
// memory_fill(address, quadwords, value)
function memory_fill
    movq %rsi, %rcx
    movq %rdx, %rax
    rep stosq
    retq
// A full fence that every emulator knows.
function memory_fence
    lock
    addl $0, -4(%rsp)
    retq

// execute_cpuid(leaf, subleaf, UInt32[4])
function execute_cpuid
    pushq %rbx
    movq %rdx, %r8
    movl %edi, %eax
    movl %esi, %ecx
    cpuid
    movl %eax, (%r8)
    movl %ebx, 4(%r8)
    movl %ecx, 8(%r8)
    movl %edx, 12(%r8)
    popq %rbx
    retq
function read_msr
    movl %edi, %ecx
    rdmsr
    shlq $32, %rdx
    orq %rdx, %rax
    retq
function write_msr
    movl %edi, %ecx
    movl %esi, %eax
    movq %rsi, %rdx
    shrq $32, %rdx
    wrmsr
    retq
function read_tsc
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    retq
function pause_cpu
    pause
    retq
function flush_page
    invlpg (%rdi)
    retq
function halt_forever
    cli
1:  hlt
    jmp 1b
function spin_forever
1:  jmp 1b

// find_word(address, length, word): address of the first 32-bit word equal to `word`, or 0.
// The string instruction finds the first byte: where each instruction is emulated, that is one for many bytes.
function find_word
    movq %rsi, %rcx
    movl %edx, %eax
1:  cmpq $4, %rcx
    jb 2f
    repne scasb
    jne 2f
    cmpl %edx, -1(%rdi)
    jne 1b
    cmpq $3, %rcx
    jb 2f
    leaq -1(%rdi), %rax
    retq
2:  xorl %eax, %eax
    retq
// sum_bytes(address, length): the bytes' sum, modulo 256, from 8 at a time.
function sum_bytes
    xorl %eax, %eax
    movabsq $0x00FF00FF00FF00FF, %r8
    xorl %r9d, %r9d
1:  cmpq $8, %rsi
    jb 2f
    movq (%rdi), %rcx
    movq %rcx, %rdx
    shrq $8, %rdx
    andq %r8, %rcx
    andq %r8, %rdx
    addq %rcx, %rdx
    // Only the low byte of each lane's sum counts, so a lane is cut back before it can carry.
    addq %rdx, %r9
    andq %r8, %r9
    addq $8, %rdi
    subq $8, %rsi
    jmp 1b
2:  testq %rsi, %rsi
    jz 3f
    movzbl (%rdi), %ecx
    addl %ecx, %eax
    incq %rdi
    decq %rsi
    jmp 2b
3:  movq %r9, %rcx
    shrq $32, %rcx
    addl %ecx, %r9d
    movl %r9d, %ecx
    shrl $16, %ecx
    addl %ecx, %r9d
    addl %r9d, %eax
    movzbl %al, %eax
    retq

// image_address(index): a place in the image; the order is that of `Image` in Machine.swift.
function image_address
    movl %edi, %edi
    movl image_addresses(, %rdi, 4), %eax
    retq

    .section .rodata.image, "a"
    .balign 4
image_addresses:
    .long page_map, page_pool, page_pool_end, dma_pool, dma_pool_end
    .long interrupt_table, interrupt_stubs, interrupt_counts, local_apic
    .long ap_trampoline, ap_trampoline_end, ap_done, ap_report, probe_msr
