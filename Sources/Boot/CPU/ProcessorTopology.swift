/// How vCPUs are grouped, and the APIC ids that say so: each level takes a power of two of ids (SDM volume 3, 9.9.1).
package struct ProcessorTopology: Equatable, Sendable {
    /// Threads in a core, cores in a die, dies in a package, packages.
    package let threads: UInt32, cores: UInt32, dies: UInt32, packages: UInt32

    /// - Parameters: each at least 1.
    package init(threads: UInt32, cores: UInt32, dies: UInt32, packages: UInt32) {
        (self.threads, self.cores) = (max(threads, 1), max(cores, 1))
        (self.dies, self.packages) = (max(dies, 1), max(packages, 1))
    }

    /// All vCPUs as the cores of one package.
    package init(flat count: UInt32) { self.init(threads: 1, cores: count, dies: 1, packages: 1) }

    /// Bits of an APIC id below the core number, the die number and the package number.
    var coreShift: UInt32 { min(Self.bits(threads), 31) }
    var dieShift: UInt32 { min(coreShift + Self.bits(cores), 31) }
    var packageShift: UInt32 { min(dieShift + Self.bits(dies), 31) }
    /// vCPUs in a die and in a package, as many as 32 bits count.
    var perDie: UInt32 { Self.product(threads, cores) }
    var perPackage: UInt32 { Self.product(perDie, dies) }

    private static func product(_ first: UInt32, _ second: UInt32) -> UInt32 {
        let (value, overflow) = first.multipliedReportingOverflow(by: second)
        return overflow ? .max : value
    }

    /// Bits that number `count` things.
    private static func bits(_ count: UInt32) -> UInt32 {
        count <= 1 ? 0 : UInt32(32 - (count - 1).leadingZeroBitCount)
    }

    /// The APIC id of a vCPU.
    package func apicID(_ index: UInt32) -> UInt32 {
        let thread = index % threads
        let core = index / threads % cores
        let die = index / perDie % dies
        let package = index / perPackage
        return package << packageShift | die << dieShift | core << coreShift | thread
    }

    /// The APIC ids of the first `count` vCPUs.
    package func apicIDs(_ count: UInt32) -> [UInt32] { (0..<count).map { apicID($0) } }
}
