/// `payload`: what the VM boots. A VM without one runs the built-in self-test.
package struct PayloadConfig: Sendable, Equatable {
    /// A kernel's path: an ELF image with a PVH entry or a bzImage.
    package var kernel: String?
    /// A firmware's path, in place of a kernel.
    package var firmware: String?
    /// The kernel's command line.
    package var cmdline: String?
    /// An initial RAM file system's path, for the kernel.
    package var initramfs: String?

    /// A payload with nothing set.
    package init() {}

    /// A kernel to boot directly.
    package init(kernel: String, cmdline: String? = nil, initramfs: String? = nil) {
        self.kernel = kernel
        self.cmdline = cmdline
        self.initramfs = initramfs
    }
}

extension PayloadConfig {
    init(_ reader: SectionReader) {
        self.init()
        kernel = reader.string("kernel", "a path")
        firmware = reader.string("firmware", "a path")
        cmdline = reader.string("cmdline")
        initramfs = reader.string("initramfs", "a path")
        reader.finish(
            ["kernel", "firmware", "cmdline", "initramfs"],
            unsupported: ["igvm": .nothing, "host_data": .nothing, "fw_cfg_config": .nothing])
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([
            ("firmware", firmware.map { .string($0) }), ("kernel", kernel.map { .string($0) }),
            ("cmdline", cmdline.map { .string($0) }), ("initramfs", initramfs.map { .string($0) }),
        ])
    }

    func validate(_ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.filePath("kernel", kernel)
        checks.filePath("firmware", firmware)
        checks.filePath("initramfs", initramfs)
        checks.noNull("cmdline", cmdline)
        switch (kernel, firmware) {
        case (nil, nil):
            report.issue(
                .missing, path,
                "names neither a kernel nor a firmware; give one, or leave the payload out for the self-test")
        case (.some(let kernel), .some):
            checks.invalid("kernel", "\(quoted(kernel)) stands beside a firmware; keep one of the two")
        case (nil, .some):
            for (key, value) in [("cmdline", cmdline), ("initramfs", initramfs)] where value != nil {
                report.warning(.ignored, path.key(key), "ignored, as a firmware boots; give a kernel to use it")
            }
        case (.some, nil): break
        }
    }
}
