/// The self-test guest: a PVH kernel in Embedded Swift (see `Firmware/SelfTest/Main.swift` for what it does and for the
/// words that its command line takes), built by the `GuestBuilder` plug-in and carried inside the executable.
package enum SelfTestImage {
    /// The guest's ELF file: a 64-bit executable with an `XEN_ELFNOTE_PHYS32_ENTRY` note, to be loaded by its program
    /// headers and entered in 32-bit protected mode with `%ebx` holding the address of `hvm_start_info`.
    package static func elf() -> [UInt8] {
        let letters = SelfTestBytes.letters
        let count = letters.utf8CodeUnitCount / 2
        return unsafe [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
            // SAFETY: the literal holds two letters for each of the `count` bytes (the build script writes it so), and
            // it lives as long as the process.
            let start = unsafe letters.utf8Start
            for index in 0..<count {
                let high = unsafe start[2 &* index] &- 97
                let low = unsafe start[2 &* index &+ 1] &- 97
                unsafe bytes[index] = high << 4 | low
            }
            filled = count
        }
    }
}
