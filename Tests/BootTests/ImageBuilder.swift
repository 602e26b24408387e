import Boot
import Memory

/// Little-endian bytes of a number.
func little<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    (0..<(Value.bitWidth / 8)).map { UInt8(truncatingIfNeeded: value >> Value(8 * $0)) }
}

extension [UInt8] {
    /// Writes a number over the bytes at an offset.
    mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        replaceSubrange(offset..<(offset + Value.bitWidth / 8), with: little(value))
    }
}

/// A tiny ELF kernel: a note that names its entry, and one segment of code.
struct TinyELF {
    var note =
        little(4 as UInt32) + little(4 as UInt32) + little(18 as UInt32) + Array("Xen\0".utf8)
        + little(0x10_0010 as UInt32)
    var code: [UInt8] = Array(1...32)
    var address: UInt64 = 0x10_0000
    var memorySize: UInt64 = 0x1000

    static let tableOffset = 64, noteOffset = 0x100, codeOffset = 0x200

    /// The file's bytes.
    var bytes: [UInt8] {
        var file = [UInt8](repeating: 0, count: Self.codeOffset)
        file.replaceSubrange(0..<8, with: [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0])
        file.put(2 as UInt16, at: 16)
        file.put(62 as UInt16, at: 18)
        file.put(UInt64(Self.tableOffset), at: 32)
        file.put(56 as UInt16, at: 54)
        file.put(2 as UInt16, at: 56)
        header(&file, 0, type: 1, offset: Self.codeOffset, fileSize: code.count)
        file.put(address, at: Self.tableOffset + 24)
        file.put(memorySize, at: Self.tableOffset + 40)
        header(&file, 1, type: 4, offset: Self.noteOffset, fileSize: note.count)
        file.put(4 as UInt64, at: Self.tableOffset + 56 + 48)
        file.replaceSubrange(Self.noteOffset..<(Self.noteOffset + note.count), with: note)
        return file + code
    }

    private func header(_ file: inout [UInt8], _ index: Int, type: UInt32, offset: Int, fileSize: Int) {
        let place = Self.tableOffset + 56 * index
        file.put(type, at: place)
        file.put(UInt64(offset), at: place + 8)
        file.put(UInt64(fileSize), at: place + 32)
    }
}

/// A tiny bzImage: a setup header and some bytes of protected-mode code.
struct TinyBzImage {
    static let preferred: UInt64 = 0x20_0000

    /// The file's bytes.
    static var bytes: [UInt8] {
        var file = [UInt8](repeating: 0, count: 512 * 2)
        file[0x1F1] = 1
        file.put(0xAA55 as UInt16, at: 0x1FE)
        file.put(64 as UInt32, at: 0x1F4)  // 1024 bytes in paragraphs
        file[0x201] = 0x6A
        file.replaceSubrange(0x202..<0x206, with: Array("HdrS".utf8))
        file.put(0x20F as UInt16, at: 0x206)
        file[0x211] = 1
        file.put(0x7FFF_FFFF as UInt32, at: 0x22C)
        file.put(1 as UInt16, at: 0x236)
        file.put(2047 as UInt32, at: 0x238)
        file.put(preferred, at: 0x258)
        file.put(0x10_0000 as UInt32, at: 0x260)
        return file + (0..<1024).map { UInt8(truncatingIfNeeded: $0 * 7) }
    }
}

/// Loads a payload from bytes into memory of a size; the outcome or the error's words.
struct LoadingBench {
    let memory: GuestMemory
    let map: MemoryMap

    init(size: UInt64 = 32 << 20) throws {
        map = try MemoryMap(size: size)
        memory = try GuestMemory(map.ranges)
    }

    func load(_ kernel: [UInt8], initramfs: [UInt8]? = nil, commandLine: String = "console=ttyS0") throws(BootError)
        -> LoadedPayload
    {
        let source = PayloadSource(bytes: kernel, name: "kernel", field: "$.payload.kernel")
        let other = initramfs.map { PayloadSource(bytes: $0, name: "initramfs", field: "$.payload.initramfs") }
        let payload = Payload(kernel: source, initramfs: other, commandLine: commandLine)
        return try PayloadLoader.load(payload, into: memory, map: map, rsdp: 0xE_0000)
    }

    func refusal(_ kernel: [UInt8], initramfs: [UInt8]? = nil, commandLine: String = "") -> String? {
        do throws(BootError) {
            _ = try load(kernel, initramfs: initramfs, commandLine: commandLine)
            return nil
        } catch {
            return error.description
        }
    }
}

extension LoadedRange {
    /// The range in one word: `kernel@100000+1000`.
    var text: String { "\(name)@\(String(address, radix: 16))+\(String(size, radix: 16))" }
}
