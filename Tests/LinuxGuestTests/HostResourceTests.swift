import Foundation
import TestSupport
import Testing

extension LinuxGuests {
    /// Processors and huge pages of the host, as a running guest has them.
    @Suite struct HostResources {
        /// Each vCPU's thread runs where the spec says, and the others where they were allowed to before.
        @Test func pinsVCPUThreadsToHostProcessors() throws {
            try withGuest("affinity") { scratch in
                let allowed = try allowedProcessors("/proc/self/status")
                var spec = try VMConfiguration(tests: "cpus", words: "swiftlet.then=stay")
                spec.cpus = .init(bootVcpus: 3, maxVcpus: 3)
                let (first, last) = (try #require(allowed.first), try #require(allowed.last))
                spec.cpus.affinity = [
                    .init(vcpu: 0, hostCpus: [last]), .init(vcpu: 1, hostCpus: [first]),
                ]
                let guest = try LinuxGuest(spec, in: scratch)
                try guest.expect("SWIFTLET: done")
                defer { guest.process.kill() }
                let threads = try threads(of: guest.process)
                #expect(threads["vcpu0"] == [last] && threads["vcpu1"] == [first], "\(threads)")
                #expect(threads["vcpu2"] == allowed, "\(threads)")
            }
        }

        /// Private and shared memory in pages of 2 MiB; a word on how to get them while there are too few.
        @Test func backsMemoryWithHugePages() throws {
            try withGuest("hugepages") { scratch in
                let counter = "/proc/sys/vm/nr_hugepages"
                let before = try number(counter)
                defer { try? "\(before)".write(toFile: counter, atomically: false, encoding: .utf8) }
                for isShared in [false, true] {
                    // Other users of this host keep what they have.
                    try "\(before)".write(toFile: counter, atomically: false, encoding: .utf8)
                    var spec = try VMConfiguration(tests: "memory", words: "swiftlet.then=stay")
                    spec.memory = .init(size: 256 << 20, shared: isShared, hugepages: true, prefault: isShared)
                    if before == 0 {
                        let report = try LinuxGuest.run(spec, in: scratch)
                        #expect(report.ending == .exited(69), "\(report)")
                        #expect(
                            report.errors.contains(
                                "$.memory.hugepages: 128 huge pages of 2048 KiB are needed, and 0 are free; reserve them "
                                    + "as root, echo 128 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
                            "\(report)")
                    }
                    try "\(before + 128)".write(toFile: counter, atomically: false, encoding: .utf8)
                    try #require(number(counter) == before + 128, "the host has no memory for 128 huge pages")
                    let guest = try LinuxGuest(spec, in: scratch)
                    try guest.expect("SWIFTLET: done")
                    defer { guest.process.kill() }
                    #expect(GuestReport.lines(in: guest.process.output).contains { $0 == ("memory-copy", "ok") })
                    let used = try hugeKiB(of: guest.process)
                    #expect(isShared ? used == 256 << 10 : used > 32 << 10, "\(used) KiB")
                }
            }
        }

        private func number(_ path: String) throws -> Int {
            let text = try String(contentsOfFile: path, encoding: .utf8)
            return try #require(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        }

        /// The processors that a thread may run on: "Cpus_allowed_list: 0-1,3".
        private func allowedProcessors(_ path: String) throws -> [Int] {
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") })
            return line.dropFirst(18).trimmingCharacters(in: .whitespaces).split(separator: ",").flatMap { part in
                let ends = part.split(separator: "-").compactMap { Int($0) }
                return Array((ends.first ?? 0)...(ends.last ?? 0))
            }
        }

        /// The threads' names, and where they may run.
        private func threads(of process: ChildProcess) throws -> [String: [Int]] {
            let directory = "/proc/\(process.id)/task"
            var threads: [String: [Int]] = [:]
            for thread in try FileManager.default.contentsOfDirectory(atPath: directory) {
                let name = try String(contentsOfFile: "\(directory)/\(thread)/comm", encoding: .utf8)
                threads[name.trimmingCharacters(in: .newlines)] = try allowedProcessors("\(directory)/\(thread)/status")
            }
            return threads
        }

        /// The huge pages that a process has touched, in KiB.
        private func hugeKiB(of process: ChildProcess) throws -> Int {
            let text = try String(contentsOfFile: "/proc/\(process.id)/status", encoding: .utf8)
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("HugetlbPages:") })
            return try #require(Int(line.filter(\.isNumber)))
        }
    }
}
