extension TinyKernel {
    /// A guest that ejects every slot that it is asked to, and shows at the debug port what it finds there afterwards.
    package static let ejector = TinyKernel([
        0x31, 0xF6,  // xor esi, esi: the slots that are to be let go
        0x66, 0xBA, 0x04, 0x06,  // again: mov dx, 0x604: the pending events
        0xED,  // in eax, dx
        0x66, 0xBA, 0x0C, 0x06,  // mov dx, 0x60c: the slots that are asked to leave, which the read takes
        0xED,  // in eax, dx
        0x09, 0xC6,  // or esi, eax
        0x0F, 0xBC, 0xDE,  // bsf ebx, esi
        0x74, 0xEF,  // jz again
        0x0F, 0xB3, 0xDE,  // btr esi, ebx
        0x66, 0xBA, 0x10, 0x06,  // mov dx, 0x610: the slot that is let go
        0x89, 0xD8,  // mov eax, ebx
        0xEF,  // out dx, eax
        0xC1, 0xE0, 0x0B,  // shl eax, 11
        0x0D, 0x00, 0x00, 0x00, 0x80,  // or eax, 0x80000000
        0x66, 0xBA, 0xF8, 0x0C,  // mov dx, 0xcf8
        0xEF,  // out dx, eax
        0x66, 0xBA, 0xFC, 0x0C,  // mov dx, 0xcfc: the vendor and the device of the slot
        0xED,  // in eax, dx
        0xE6, 0x80,  // out 0x80, al
        0xEB, 0xCF,  // jmp again
    ])
}
