/// The flags that describe a VM, as the command line holds them: each text is one flag's value.
package struct VMFlags: Sendable, Equatable {
    /// `--cpus boot=2,max=4`
    package var cpus: String?
    /// `--memory size=1G,shared=on`
    package var memory: String?
    /// `--kernel`
    package var kernel: String?
    /// `--firmware`
    package var firmware: String?
    /// `--cmdline`
    package var cmdline: String?
    /// `--initramfs`
    package var initramfs: String?
    /// `--disk path=…`, one for each disk.
    package var disks: [String] = []
    /// `--net tap=…`, one for each interface.
    package var net: [String] = []
    /// `--rng src=…`
    package var rng: String?
    /// `--console off|tty|pty|null|file=…|socket=…`
    package var console: String?
    /// `--serial off|tty|pty|null|file=…|socket=…`
    package var serial: String?
    /// `--debug-console off|tty|pty|null|file=…,iobase=0xe9`
    package var debugConsole: String?
    /// `--vsock cid=3,socket=/run/vm.vsock`
    package var vsock: String?

    /// No flags.
    package init() {}

    /// Whether no flag is given.
    package var isEmpty: Bool { self == VMFlags() }
}

extension VMConfig {
    /// Reads and validates a configuration that is given as flags. The flags become the JSON object that says the same,
    /// so that one set of rules holds; errors name the flag and the key.
    /// - Throws: `SpecError` with everything that is wrong.
    package static func fromFlags(_ flags: VMFlags) throws(SpecError) -> ParsedConfig {
        let report = Report(mode: .strict, style: .flags)
        let root = SpecPath()
        var object = JSONObject()
        func single(_ syntax: FlagSyntax, _ text: String?) {
            guard let text else { return }
            var reader = FlagReader(syntax, root.key(syntax.section), report)
            object[syntax.section] = .object(withDefaults(reader.read(text), syntax.section))
        }
        func several(_ syntax: FlagSyntax, _ texts: [String]) {
            if texts.isEmpty { return }
            object[syntax.section] = .array(
                texts.enumerated().map { index, text in
                    var reader = FlagReader(syntax, root.key(syntax.section).index(index), report)
                    return .object(reader.read(text))
                })
        }
        single(.cpus, flags.cpus)
        single(.memory, flags.memory)
        several(.disk, flags.disks)
        several(.net, flags.net)
        single(.rng, flags.rng)
        single(.console, flags.console)
        single(.serial, flags.serial)
        single(.debugConsole, flags.debugConsole)
        single(.vsock, flags.vsock)
        object["payload"] = payload(flags)
        // A list that was not understood would only lead to further errors about what is then missing.
        try report.check()
        return try read(.object(object), report)
    }

    private static func payload(_ flags: VMFlags) -> JSONValue? {
        let fields = [
            ("kernel", flags.kernel), ("firmware", flags.firmware), ("cmdline", flags.cmdline),
            ("initramfs", flags.initramfs),
        ]
        if fields.allSatisfy({ $0.1 == nil }) { return nil }
        return .members(fields.map { ($0.0, $0.1.map { .string($0) }) })
    }

    /// What the flags let out and the JSON format requires.
    private static func withDefaults(_ object: JSONObject, _ section: String) -> JSONObject {
        var object = object
        switch section {
        case "cpus":
            object["boot_vcpus"] = object["boot_vcpus"] ?? .integer(1)
            object["max_vcpus"] = object["max_vcpus"] ?? object["boot_vcpus"]
        case "memory":
            object["size"] = object["size"] ?? .integer(MemoryConfig().size)
        default: break
        }
        return object
    }
}
