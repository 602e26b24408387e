/// What a PC's BIOS has at its reset vector: here, real-mode code that resets the machine.
///
/// Linux jumps there to reboot a machine with hardware-reduced ACPI and without EFI services: it takes such machines
/// for EFI ones and falls back to the BIOS (arch/x86/kernel/reboot.c, `efi_reboot_required`).
package enum ResetVector {
    /// Writes the reset value to the reset register, then halts: `mov $port, %dx; mov $value, %al; out %al, (%dx);
    /// hlt; jmp` to the halt.
    package static let code: [UInt8] = [
        0xBA, UInt8(MachineLayout.reset & 0xFF), UInt8(MachineLayout.reset >> 8), 0xB0, MachineLayout.resetValue, 0xEE,
        0xF4, 0xEB, 0xFD,
    ]
}
