extension VMConfig {
    /// Checks the rules that need no look at the host.
    /// - Throws: `SpecError` with every rule that is broken.
    package func validate() throws(SpecError) {
        let report = Report()
        validate(report)
        try report.check()
    }

    func validate(_ report: Report) {
        let root = SpecPath()
        cpus.validate(root.key("cpus"), report)
        memory.validate(maxPhysBits: cpus.maxPhysBits, root.key("memory"), report)
        payload?.validate(root.key("payload"), report)
        for (index, disk) in disks.enumerated() {
            disk.validate(bootVCPUs: cpus.bootVCPUs, root.key("disks").index(index), report)
        }
        for (index, net) in net.enumerated() {
            net.validate(bootVCPUs: cpus.bootVCPUs, root.key("net").index(index), report)
        }
        rng.validate(root.key("rng"), report)
        serial.validate(root.key("serial"), report)
        console.validate(root.key("console"), report)
        debugConsole.validate(root.key("debug_console"), report)
        vsock?.validate(root.key("vsock"), report)
        validateUnique(root, report)
        validateTerminal(root, report)
        validateOutputs(root, report)
    }

    /// Ids, writable images and TAP interfaces have one user each.
    private func validateUnique(_ root: SpecPath, _ report: Report) {
        var ids: [String: SpecPath] = [:]
        for (path, id) in named(below: root) {
            if let first = ids[id] {
                let place = first.text(report.style)
                report.issue(.duplicate, path.key("id"), "\(quoted(id)) is already the id of \(place); choose another")
            } else {
                ids[id] = path
            }
        }

        validateImages(root, report)
        var taps: [String: SpecPath] = [:]
        for (index, net) in net.enumerated() {
            guard let tap = net.tap else { continue }
            let path = root.key("net").index(index)
            if let first = taps[tap] {
                let place = first.text(report.style)
                report.issue(.duplicate, path.key("tap"), "\(quoted(tap)) is already used by \(place); choose another")
            } else {
                taps[tap] = path
            }
        }
    }

    /// An image that is written has no other user: a second writer destroys a file system, and a reader's lock keeps
    /// the writer from opening it. Paths are bytes, so spellings of one name that look alike are different files.
    private func validateImages(_ root: SpecPath, _ report: Report) {
        var writers: [[UInt8]: SpecPath] = [:]
        var readers: [[UInt8]: SpecPath] = [:]
        for (index, disk) in disks.enumerated() {
            let path = root.key("disks").index(index)
            let image = Array(disk.path.utf8)
            if let first = writers[image] ?? (disk.readonly ? nil : readers[image]) {
                let both = !disk.readonly && writers[image] != nil
                let place = first.text(report.style)
                let message =
                    both
                    ? "is already written by \(place); two writers destroy a file system; set readonly or use a copy"
                    : "is also the image of \(place), and one of the two writes to it; set readonly on both or use a copy"
                report.issue(.duplicate, path.key("path"), "\(quoted(disk.path)) \(message)")
            } else if disk.readonly {
                readers[image] = readers[image] ?? path
            } else {
                writers[image] = path
            }
        }
    }

    /// A file that takes output has no other user: it is emptied first, and two writers mix what they write. A socket
    /// has one listener.
    private func validateOutputs(_ root: SpecPath, _ report: Report) {
        var inputs: [[UInt8]: SpecPath] = [:]
        func read(_ file: String?, _ place: SpecPath) { if let file { inputs[Array(file.utf8)] = place } }
        let kernel = root.key("payload")
        read(payload?.kernel, kernel.key("kernel"))
        read(payload?.firmware, kernel.key("firmware"))
        read(payload?.initramfs, kernel.key("initramfs"))
        for (index, disk) in disks.enumerated() { read(disk.path, root.key("disks").index(index).key("path")) }

        var outputs: [[UInt8]: SpecPath] = [:]
        let consoles = [("console", console), ("serial", serial)].flatMap { section, config in
            [
                (root.key(section).key("file"), config.mode == .file ? config.file : nil),
                (root.key(section).key("socket"), config.mode == .socket ? config.socket : nil),
            ]
        }
        let debug = (root.key("debug_console").key("file"), debugConsole.mode == .file ? debugConsole.file : nil)
        for (place, file) in consoles + [debug, (root.key("vsock").key("socket"), vsock?.socket)] {
            guard let file else { continue }
            let name = Array(file.utf8)
            if let input = inputs[name] {
                let user = input.text(report.style)
                report.issue(
                    .duplicate, place, "\(quoted(file)) is \(user), which must not be overwritten; name another")
            } else if let first = outputs[name] {
                let user = first.text(report.style)
                report.issue(.duplicate, place, "\(quoted(file)) is already taken by \(user); name another")
            } else if !file.utf8.starts(with: "/dev/".utf8) {
                // Devices such as /dev/null take the output of many.
                outputs[name] = place
            }
        }
    }

    /// The terminal has one reader.
    private func validateTerminal(_ root: SpecPath, _ report: Report) {
        let users = [("console", console.mode), ("serial", serial.mode), ("debug_console", debugConsole.mode)]
            .filter { $0.1 == .tty }.map { root.key($0.0) }
        guard let first = users.first else { return }
        for user in users.dropFirst() {
            let place = first.text(report.style)
            report.issue(
                .invalid, user.key("mode"),
                "Tty is already the mode of \(place); only one can have the terminal, turn one off")
        }
    }
}

extension DiskConfig {
    /// Reads and validates one disk in JSON, as `vm.add-disk` takes it.
    /// - Parameter bootVCPUs: the VM's, which bound the queues.
    /// - Throws: `SpecError` with everything that is wrong.
    package static func parse(
        _ bytes: [UInt8], bootVCPUs: UInt32, mode: ReadingMode = .lenient
    ) throws(SpecError) -> Parsed<DiskConfig> {
        let report = Report(mode: mode)
        let value = try JSONValue.parse(bytes)
        let disk = SectionReader(value, SpecPath(), report).map { DiskConfig($0) }
        try report.check()
        disk?.validate(bootVCPUs: bootVCPUs, SpecPath(), report)
        try report.check()
        return Parsed(config: disk ?? DiskConfig(path: "/"), warnings: report.warnings)
    }
}

extension NetConfig {
    /// Reads and validates one network interface in JSON, as `vm.add-net` takes it.
    /// - Parameter bootVCPUs: the VM's, which bound the queues.
    /// - Throws: `SpecError` with everything that is wrong.
    package static func parse(
        _ bytes: [UInt8], bootVCPUs: UInt32, mode: ReadingMode = .lenient
    ) throws(SpecError) -> Parsed<NetConfig> {
        let report = Report(mode: mode)
        let value = try JSONValue.parse(bytes)
        let net = SectionReader(value, SpecPath(), report).map { NetConfig($0) }
        try report.check()
        net?.validate(bootVCPUs: bootVCPUs, SpecPath(), report)
        try report.check()
        return Parsed(config: net ?? NetConfig(), warnings: report.warnings)
    }
}
