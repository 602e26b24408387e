// guest - a payload for measurements: fills memory, then writes a progress code and a character again and again.
//
// Built for each use (`cc -D…`), entered through its PVH note, by swiftlet and by QEMU:
//
//     FILL    MiB of memory in which each page from 16 MiB on gets a word that is its address (default: none)
//     DIRTY   pages from 16 MiB on that each turn writes again (default: none)
//     SPAN    pages from 16 MiB on of which each turn writes the next DIRTY ones, from the first one again behind the last
//     PAUSE   ns between two turns, in which the processor halts; 0, the default, is none
//
// A turn is one byte to port 0x80, where swiftlet takes the time, and a tilde at COM1. When the VM's generation id is another
// one than before, which is at the first turn after a restore, it powers off where LAST is defined.

#define START 0x1000000
#define GENERATION 0xFF000 // swiftlet's; see MachineLayout
#define SLEEP_CONTROL 0x600
#define APIC 0xFEE00000
#define VECTOR 0x40

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18 // name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad entry

    .text
    .code32
    .globl entry
entry:
    cli
    movl $stack_top, %esp
    lgdt gdt_pointer
    ljmp $8, $1f
1:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
#ifdef FILL
    movl $START, %edi
1:  movl %edi, (%edi)
    addl $4096, %edi
    cmpl $(FILL << 20), %edi
    jb 1b
#endif
#if PAUSE
    movl $tick, %eax
    movw %ax, gate
    shrl $16, %eax
    movw %ax, gate + 6
    lidt idt_pointer
    movl $0x1FF, APIC + 0xF0             // on; spurious interrupts at vector 0xFF
    movl $0x10000, APIC + 0x350          // nothing from the PIC, through which KVM gives the restored guest its event
    movl $0xB, APIC + 0x3E0              // each tick of the bus, which is a ns
    movl $(0x20000 | VECTOR), APIC + 0x320 // periodic
    movl $PAUSE, APIC + 0x380
#endif
    movl GENERATION, %ebx
turn:
    outb %al, $0x80
    movw $0x3F8, %dx
    movb $'~', %al
    outb %al, %dx
#ifdef LAST
    cmpl %ebx, GENERATION
    jne off
#endif
#if SPAN
    movl next, %edi
    movl $DIRTY, %ecx
1:  cmpl $(START + SPAN * 4096), %edi
    jb 2f
    movl $START, %edi
2:  incl 8(%edi)
    addl $4096, %edi
    decl %ecx
    jnz 1b
    movl %edi, next
#elif DIRTY
    movl $START, %edi
1:  incl 8(%edi)
    addl $4096, %edi
    cmpl $(START + DIRTY * 4096), %edi
    jb 1b
#endif
#if PAUSE
    sti
    hlt
    cli
#endif
    jmp turn

#ifdef LAST
off:
    outb %al, $0x80     // again, and the tilde: the snapshot may have been taken behind those of the turn
    outb %al, %dx
    movw $SLEEP_CONTROL, %dx
    movb $0x34, %al // SLP_EN, S5
    outb %al, %dx
    hlt
#endif

#if PAUSE
tick:
    movl $0, APIC + 0xB0
    // Not iret, which a KVM that emulates kernel-mode code does not know; and the flags stay as they are, so that the next
    // tick does not come before the jump, whose target it would take away.
    popl %edx
    addl $8, %esp
    jmp *%edx
#endif

    .data
    .balign 8
gdt:
    .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF // none, flat code, flat data
gdt_pointer:
    .word . - gdt - 1
    .long gdt
idt_pointer:
    .word VECTOR * 8 + 7
    .long gate - VECTOR * 8
    .balign 8
gate:
    .word 0, 8, 0x8E00, 0
next:
    .long START
    .bss
    .balign 16
    .skip 4096
stack_top:
