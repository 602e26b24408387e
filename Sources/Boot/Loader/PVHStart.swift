/// What PVH hands to a kernel: Xen's `xen/include/public/arch-x86/hvm/start_info.h`, version 1.
enum PVHStart {
    static func info(hasInitramfs: Bool, rsdp: UInt64, mapCount: Int) -> [UInt8] {
        var writer = ByteWriter()
        writer.append(UInt32(0x336E_C578))
        writer.append(UInt32(1))
        writer.append(UInt32(0))
        writer.append(UInt32(hasInitramfs ? 1 : 0))
        writer.append(hasInitramfs ? BootLayout.moduleList : UInt64(0))
        writer.append(BootLayout.commandLine)
        writer.append(rsdp)
        writer.append(BootLayout.memoryMap)
        writer.append(UInt32(mapCount))
        writer.append(UInt32(0))
        return writer.bytes
    }

    static func modules(_ initramfs: Range<UInt64>?) -> [UInt8] {
        guard let initramfs else { return [] }
        var writer = ByteWriter()
        writer.append(initramfs.lowerBound)
        writer.append(initramfs.upperBound - initramfs.lowerBound)
        writer.append(UInt64(0))
        writer.append(UInt64(0))
        return writer.bytes
    }

    static func memoryMap(_ entries: [MemoryMapEntry]) -> [UInt8] {
        var writer = ByteWriter()
        for entry in entries {
            writer.append(entry.address)
            writer.append(entry.size)
            writer.append(entry.kind.rawValue)
            writer.append(UInt32(0))
        }
        return writer.bytes
    }
}
