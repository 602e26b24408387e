import Foundation
import Spec
import TestSupport
import Testing

@testable import Machine

/// Whether the host has the huge pages that a machine asks for: against a directory like sysfs's.
@Suite struct HugePageTests {
    private let scratch: ScratchDirectory

    init() throws { scratch = try ScratchDirectory("huge") }

    /// What is said of 256 MiB in huge pages where the kernel counts these.
    private func refusal(_ counts: [String: Int], size: UInt64? = nil) throws -> String? {
        let directory = "hugepages-2048kB"
        try? FileManager.default.removeItem(atPath: scratch.path(directory))
        try FileManager.default.createDirectory(atPath: scratch.path(directory), withIntermediateDirectories: true)
        for (name, count) in counts { try scratch.write("\(directory)/\(name)", "\(count)\n") }
        var config = VMConfig()
        (config.memory.size, config.memory.hugepages, config.memory.hugepageSize) = (256 << 20, true, size)
        if size == 1 << 30 { config.memory.size = 2 << 30 }
        let plan = try MachinePlanner(hostAddressBits: 46).plan(config)
        do throws(MachineError) {
            try FieldErrors.checkHugePages(plan, sysfs: scratch.path)
            return nil
        } catch {
            guard case .host(let text) = error else { throw error }
            return text
        }
    }

    @Test func saysHowManyAreMissingAndHowToGetThem() throws {
        // Ten pages are in use, and twenty of the free ones promised to others.
        let counts = ["nr_hugepages": 110, "free_hugepages": 100, "resv_hugepages": 20]
        let file = "\(scratch.path)/hugepages-2048kB/nr_hugepages"
        #expect(
            try refusal(counts)
                == "$.memory.hugepages: 128 huge pages of 2048 KiB are needed, and 80 are free; reserve them as root, "
                + "echo 158 > \(file), or leave hugepages out")
        #expect(try refusal(counts.merging(["free_hugepages": 148]) { $1 }) == nil)
    }

    /// Pages that the kernel makes when they are asked for count too.
    @Test func countsPagesThatAreMadeWhenAskedFor() throws {
        var counts = ["nr_hugepages": 0, "free_hugepages": 0, "resv_hugepages": 0, "nr_overcommit_hugepages": 130]
        #expect(try refusal(counts) == nil)
        counts["surplus_hugepages"] = 3
        #expect(try refusal(counts)?.contains("128 huge pages of 2048 KiB are needed, and 0 are free") == true)
    }

    @Test func tellsAKernelWithoutThatSize() throws {
        #expect(
            try refusal(["nr_hugepages": 1000, "free_hugepages": 1000], size: 1 << 30)
                == "$.memory.hugepages: 2 huge pages of 1048576 KiB are needed, and 0 are free: this host's kernel has "
                + "none of that size; set hugepage_size to another one, or leave hugepages out")
    }
}
