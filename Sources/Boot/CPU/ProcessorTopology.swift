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
    var coreShift: UInt32 { Self.bits(threads) }
    var dieShift: UInt32 { coreShift + Self.bits(cores) }
    var packageShift: UInt32 { dieShift + Self.bits(dies) }
    /// vCPUs in a package.
    var perPackage: UInt32 { threads &* cores &* dies }

    /// Bits that number `count` things.
    private static func bits(_ count: UInt32) -> UInt32 {
        count <= 1 ? 0 : UInt32(32 - (count - 1).leadingZeroBitCount)
    }

    /// The APIC id of a vCPU.
    package func apicID(_ index: UInt32) -> UInt32 {
        let thread = index % threads
        let core = index / threads % cores
        let die = index / (threads &* cores) % dies
        let package = index / perPackage
        return package << packageShift | die << dieShift | core << coreShift | thread
    }

    /// The APIC ids of the first `count` vCPUs.
    package func apicIDs(_ count: UInt32) -> [UInt32] { (0..<count).map { apicID($0) } }
}
