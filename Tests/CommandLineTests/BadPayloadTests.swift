import TestSupport
import Testing

/// Payloads that cannot boot.
@Suite struct BadPayloadTests {
    private let scratch: ScratchDirectory
    init() throws { scratch = try ScratchDirectory("payload") }

    private func run(_ payload: String, memory: String = "") throws -> ProcessResult {
        try Swiftlet.run(spec: Swiftlet.spec(#""payload":{\#(payload)}"#))
    }

    @Test func namesAMissingKernel() throws {
        let path = scratch.path("none")
        expectRefusal(
            try run(#""kernel":"\#(path)""#), 65, "$.payload.kernel: \(path): cannot be opened", "ENOENT",
            "check the path")
    }

    @Test func namesWhatIsNoKernel() throws {
        let path = try scratch.write("text", String(repeating: "hello ", count: 200))
        expectRefusal(
            try run(#""kernel":"\#(path)""#), 65, "$.payload.kernel: \(path): is neither ELF nor bzImage",
            "give an uncompressed vmlinux")
        expectRefusal(try run(#""kernel":"\#(scratch.path)""#), 65, "$.payload.kernel: ", "is a directory", "name")
        let empty = try scratch.write("empty", [UInt8]())
        expectRefusal(try run(#""kernel":"\#(empty)""#), 65, "$.payload.kernel: \(empty): is empty", "fetch or build")
    }

    @Test func namesATruncatedELF() throws {
        let kernel = TinyKernel([0xF4]).elf
        for length in [3, 40, 64, 100, kernel.count - 1] {
            let path = try scratch.write("short-\(length)", Array(kernel[..<length]))
            let result = try run(#""kernel":"\#(path)""#)
            let known = length >= 4
            expectRefusal(
                result, 65, "$.payload.kernel: \(path): is ", known ? "truncated" : "neither ELF nor bzImage", "; ")
        }
    }

    @Test func namesATruncatedBzImage() throws {
        var image = [UInt8](repeating: 0, count: 0x600)
        image.replaceSubrange(0x202..<0x206, with: Array("HdrS".utf8))
        // Boot flag, protocol 2.15, one sector of setup, loaded high, entered in 64-bit mode, 1 MiB of kernel.
        image.replaceSubrange(0x1FE..<0x200, with: [0x55, 0xAA])
        image.replaceSubrange(0x206..<0x208, with: [0x0F, 0x02])
        (image[0x1F1], image[0x211], image[0x236]) = (1, 1, 1)
        image.replaceSubrange(0x1F4..<0x1F8, with: [0x00, 0x00, 0x01, 0x00])
        image.replaceSubrange(0x260..<0x264, with: [0x00, 0x00, 0x20, 0x00])
        let path = try scratch.write("bzImage", image)
        expectRefusal(try run(#""kernel":"\#(path)""#), 65, "$.payload.kernel: \(path): ", "truncated", "; ")
    }

    @Test func namesAnInitramfsThatDoesNotFit() throws {
        let kernel = try scratch.write("kernel", TinyKernel([0xF4]).elf)
        let initramfs = try scratch.sparse("initramfs", bytes: 64 << 20)
        expectRefusal(
            try run(#""kernel":"\#(kernel)","initramfs":"\#(initramfs)""#), 65,
            "$.payload.initramfs: \(initramfs): is 64 MiB", "RAM are left", "raise memory.size")
        expectRefusal(
            try run(#""kernel":"\#(kernel)","initramfs":"/nonexistent""#), 65,
            "$.payload.initramfs: /nonexistent: cannot be opened", "; ")
    }

    @Test func namesACommandLineThatIsTooLong() throws {
        let kernel = try scratch.write("kernel", TinyKernel([0xF4]).elf)
        let text = String(repeating: "x", count: 3000)
        expectRefusal(
            try run(#""kernel":"\#(kernel)","cmdline":"\#(text)""#), 65, "$.payload.cmdline: ", "3000 bytes", "2047",
            "shorten it")
    }

    @Test func namesTheFlagOfAPayload() throws {
        expectRefusal(
            try Swiftlet.run(["vmm", "--kernel", "/nonexistent"]), 65, "--kernel: /nonexistent: cannot be opened", "; ")
        expectRefusal(
            try Swiftlet.run(["vmm", "--kernel", try scratch.write("k", TinyKernel([0xF4]).elf), "--initramfs", "/n"]),
            65, "--initramfs: /n: cannot be opened", "; ")
    }
}
