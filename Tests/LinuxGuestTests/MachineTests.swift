import TestSupport
import Testing

extension LinuxGuests {
    /// Processors, memory, both kernel formats, both consoles.
    @Suite struct Machine {
        struct Shape: Sendable, CustomTestStringConvertible {
            let kernel: GuestFiles.Kernel
            let cpus: Int
            let mebibytes: UInt64
            let console: String

            var testDescription: String { "\(kernel.rawValue), \(cpus) vCPUs, \(mebibytes) MiB, \(console)" }
        }

        @Test(arguments: [
            Shape(kernel: .vmlinux, cpus: 1, mebibytes: 128, console: "ttyS0"),
            Shape(kernel: .bzImage, cpus: 2, mebibytes: 1024, console: "hvc0"),
            Shape(kernel: .vmlinux, cpus: 8, mebibytes: 6144, console: "ttyS0"),
        ])
        func saysHelloWithAllItsCPUsAndMemory(_ shape: Shape) throws {
            let report = try withGuest("machine-\(shape.cpus)") { scratch in
                var spec = try VMConfiguration(
                    shape.kernel, tests: "hello", "cpus", "memory",
                    words: "console=\(shape.console)", "swiftlet.modules=virtio_pci,virtio_console")
                spec.cpus = .init(bootVcpus: shape.cpus, maxVcpus: shape.cpus)
                spec.memory.size = shape.mebibytes << 20
                if shape.console == "hvc0" { (spec.serial, spec.console) = (.null, .tty) }
                return try LinuxGuest.run(spec, in: scratch)
            }
            try #require(report.isClean, "\(report)")
            #expect(try report["hello"] == GuestFiles.release())
            #expect(report["console"]?.hasSuffix(shape.console) == true)
            let all = shape.cpus == 1 ? "0" : "0-\(shape.cpus - 1)"
            #expect(report["cpus-online"] == all)
            #expect(report["cpus-present"] == all)
            #expect(report["cpus-count"] == "\(shape.cpus)")
            #expect(report["cpus-ran"] == (0..<shape.cpus).map { "\($0)" }.joined(separator: " "))
            try checkMemory(report, bytes: shape.mebibytes << 20)
        }

        /// Linux groups threads, cores, dies and packages as the spec does.
        @Test func groupsItsCPUsAsTheSpecSays() throws {
            let report = try withGuest("topology") { scratch in
                var spec = try VMConfiguration(tests: "topology")
                spec.cpus = .init(bootVcpus: 8, maxVcpus: 8)
                spec.cpus.topology = .init(threadsPerCore: 2, coresPerDie: 2, diesPerPackage: 1, packages: 2)
                return try LinuxGuest.run(spec, in: scratch)
            }
            try #require(report.isClean, "\(report)")
            let expected = (0..<8).map { cpu in
                let (package, core) = (cpu / 4, cpu / 2 % 2)
                let (thread, first) = (cpu / 2 * 2, package * 4)
                return "cpu\(cpu) package=\(package) core=\(core) core-cpus=\(thread)-\(thread + 1) "
                    + "die-cpus=\(first)-\(first + 3) package-cpus=\(first)-\(first + 3)"
            }
            #expect(report.all("topology") == expected, "\(report)")
        }

        private func checkMemory(_ report: GuestReport, bytes: UInt64) throws {
            let ram = try #require(UInt64(report["memory-ram-bytes"] ?? ""))
            let above = try #require(UInt64(report["memory-above-4g-bytes"] ?? ""))
            let total = try #require(UInt64(report["memory-total-kib"] ?? "")) << 10
            // What is missing lies below 1 MiB: the first page, and the area of the ACPI tables.
            #expect(ram <= bytes && ram > bytes - (1 << 20))
            // What is missing from MemTotal: the kernel itself and its page structures.
            #expect(total < ram && total > bytes / 100 * 60)
            // RAM goes on above the hole from 3 to 4 GiB.
            #expect(above == (bytes > 3 << 30 ? bytes - (3 << 30) : 0))
            #expect(report["memory-copy"] == "ok")
        }
    }
}
