// The way in: PVH entry in 32-bit protected mode, long mode with an identity map, and the same for the other CPUs.
//
// KVM emulates this code instruction by instruction on hosts that cannot run guest kernel code natively, so
// only plain integer instructions are used and the page tables are small: 16 MiB here, the rest on demand.

#define MSR_EFER 0xC0000080

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18                      // name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_entry

    .section .text.entry, "ax"
    .code32
    .globl pvh_entry
pvh_entry:
    outb %al, $0x80                     // the first instruction: the VMM takes the time here
    cli
    cld
    movl $boot_stack_top, %esp
    xorl %eax, %eax
    movl $bss_start, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    rep stosl

    movl $page_directory_pointers + 3, page_map
    movl $page_directory + 3, page_directory_pointers
    movl $0x83, %eax                    // present, writable, 2 MiB
    movl $page_directory, %edi
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    cmpl $0x1000083, %eax
    jne 1b

    movl $boot_cpu_64, %edi
    lgdt gdt_pointer

// Turns paging and long mode on; continues at %edi with flat segments. %ebx is kept.
enable_long_mode:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr4, %eax
    orl $0x20, %eax                     // PAE
    movl %eax, %cr4
    movl $page_map, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $0x100, %eax                    // LME
    wrmsr
    movl %cr0, %eax
    andl $0x9FFFFFFF, %eax              // caches on: a started CPU comes with CD and NW set
    orl $0x80000001, %eax               // PG, PE
    movl %eax, %cr0
    ljmpl $0x08, $long_mode

    .code64
long_mode:
    movl %edi, %edi
    jmpq *%rdi

boot_cpu_64:
    movl %ebx, %edi
    xorl %ebp, %ebp
    callq guest_main
1:  cli
    hlt
    jmp 1b

// A started CPU arrives from the trampoline in 32-bit mode.
    .code32
ap_entry_32:
    movl $ap_entry_64, %edi
    jmp enable_long_mode

    .code64
ap_entry_64:
    movl $ap_stack_top, %esp
    xorl %ebp, %ebp
    lidt idt_pointer
    callq guest_ap_main
    // The stack belongs to the next CPU from here on.
    movl $1, ap_done
1:  cli
    hlt
    jmp 1b

// Real-mode start of the other CPUs, copied to a page below 1 MiB: %cs is that page, offset 0.
    .section .rodata.trampoline, "a"
    .balign 16
    .globl ap_trampoline
ap_trampoline:
    .code16
    cli
    movw %cs, %ax
    movw %ax, %ds
    lgdtl (trampoline_gdt_pointer - ap_trampoline)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $ap_entry_32
trampoline_gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
    .globl ap_trampoline_end
ap_trampoline_end:

    .section .data.gdt, "aw"
    .balign 8
gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF            // 0x08 code, 64-bit
    .quad 0x00CF93000000FFFF            // 0x10 data
    .quad 0x00CF9B000000FFFF            // 0x18 code, 32-bit
    .quad 0
    .globl gdt_task
gdt_task:
    .quad 0x0000890080000067            // 0x28 task state at 0x8000, for the probe of LTR only
    .quad 0
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt

// The linker script aligns these to pages: an alignment of the section would be padding in the file.
    .section .bss.page_tables, "aw", @nobits
    .globl page_map
page_map: .skip 4096
page_directory_pointers: .skip 4096
page_directory: .skip 4096

    .section .bss.ap, "aw", @nobits
    .balign 8
// What a started CPU reports, 32-bit words: its phase, its failed steps.
    .globl ap_report
ap_report: .skip 8
// 1 when the started CPU has left its stack.
    .globl ap_done
ap_done: .skip 4

    .section .scratch.pages, "aw", @nobits
// Pages for page tables made on demand, cleared when taken.
    .globl page_pool
page_pool: .skip 4096 * 32
    .globl page_pool_end
page_pool_end:
// Pages for virtqueues and buffers, cleared when taken.
    .globl dma_pool
dma_pool: .skip 4096 * 64
    .globl dma_pool_end
dma_pool_end:
boot_stack: .skip 16384
boot_stack_top:
ap_stack: .skip 8192
ap_stack_top:
