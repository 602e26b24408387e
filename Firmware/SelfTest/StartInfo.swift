// What the loader left: hvm_start_info of the PVH boot protocol (Xen's include/public/arch-x86/hvm/start_info.h).

struct StartInfo {
    static let magic: UInt32 = 0x336E_C578
    let address: UInt64

    init(at address: UInt64) {
        self.address = address
        Paging.map(address, 56)
    }

    var isSound: Bool { memoryRead32(address) == Self.magic }
    var version: UInt32 { memoryRead32(address + 4) }
    var modules: UInt32 { memoryRead32(address + 12) }
    var commandLine: UInt64 { memoryRead64(address + 24) }
    var rsdp: UInt64 { memoryRead64(address + 32) }
    /// Version 1 added the memory map: address, size, type per 24-byte entry.
    var memoryMap: UInt64 { version >= 1 ? memoryRead64(address + 40) : 0 }
    var memoryMapEntries: UInt64 { version >= 1 ? UInt64(memoryRead32(address + 48)) : 0 }

    func report() {
        let entries = min(memoryMapEntries, 128)
        say("start_info at \(hex: address), version \(version), \(entries) memory map entries, \(modules) modules")
        Paging.map(memoryMap, entries * 24)
        var total: UInt64 = 0
        var end: UInt64 = 0
        var ordered = true
        for index in 0..<entries {
            let entry = memoryMap + index * 24
            let start = memoryRead64(entry)
            let size = memoryRead64(entry + 8)
            let type = memoryRead32(entry + 16)
            tell("memory: \(digits: start, 16) + \(hex: size) ")
            say(type == 1 ? "RAM" : type == 2 ? "reserved" : type == 3 ? "ACPI" : "other")
            // Some loaders leave their last entries empty.
            if size == 0 { continue }
            if type == 1 { total &+= size }
            ordered = ordered && start >= end && start &+ size >= start
            end = start &+ size
        }
        Result.check(total >= 1 << 20 && ordered, "memory: \(total >> 10) KiB of RAM, map in order")
    }
}
