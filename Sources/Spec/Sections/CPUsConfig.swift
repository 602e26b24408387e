/// `cpus`: how many virtual processors, how they are arranged, and where they run.
package struct CPUsConfig: Sendable, Equatable {
    /// vCPUs that run from the start.
    package var bootVCPUs: UInt32
    /// vCPUs that the guest can ever have.
    package var maxVCPUs: UInt32
    /// Sockets, dies, cores and threads; nil lets the monitor choose.
    package var topology: CPUTopology?
    /// Host CPUs that each vCPU is bound to; vCPUs that are not listed run anywhere.
    package var affinity: [CPUAffinity] = []
    /// Guest-physical address bits, at most what the host has.
    package var maxPhysBits: UInt8 = 46

    /// vCPUs without a topology and unbound.
    package init(boot: UInt32 = 1, max: UInt32? = nil) {
        bootVCPUs = boot
        maxVCPUs = max ?? boot
    }
}

/// How vCPUs are arranged; the product of the four is `max_vcpus`.
package struct CPUTopology: Sendable, Equatable {
    /// Hardware threads that share a core: 1 or 2.
    package var threadsPerCore: UInt16
    /// Cores that share a die.
    package var coresPerDie: UInt16
    /// Dies that share a package.
    package var diesPerPackage: UInt16
    /// Packages, also called sockets.
    package var packages: UInt16

    /// A topology, from the smallest part to the largest.
    package init(threadsPerCore: UInt16, coresPerDie: UInt16, diesPerPackage: UInt16, packages: UInt16) {
        self.threadsPerCore = threadsPerCore
        self.coresPerDie = coresPerDie
        self.diesPerPackage = diesPerPackage
        self.packages = packages
    }

    /// The vCPUs of the topology. Four 16-bit factors fit 64 bits.
    package var total: UInt64 {
        UInt64(threadsPerCore) * UInt64(coresPerDie) * UInt64(diesPerPackage) * UInt64(packages)
    }
}

/// The host CPUs that one vCPU may run on.
package struct CPUAffinity: Sendable, Equatable {
    /// The vCPU's index, from 0.
    package var vcpu: UInt32
    /// The host CPUs' numbers.
    package var hostCPUs: [UInt32]

    /// A binding.
    package init(vcpu: UInt32, hostCPUs: [UInt32]) {
        self.vcpu = vcpu
        self.hostCPUs = hostCPUs
    }
}

extension CPUsConfig {
    init(_ reader: SectionReader) {
        self.init(
            boot: reader.requiredInteger("boot_vcpus", Limits.vcpus),
            max: reader.requiredInteger("max_vcpus", Limits.vcpus))
        topology = reader.section("topology").map(CPUTopology.init)
        affinity = reader.sections("affinity").map(CPUAffinity.init)
        maxPhysBits = reader.integer("max_phys_bits", Limits.physicalAddressBits) ?? maxPhysBits
        reader.finish(
            ["boot_vcpus", "max_vcpus", "topology", "affinity", "max_phys_bits"],
            unsupported: [
                "kvm_hyperv": .value(.bool(false)), "nested": .value(.bool(true)), "core_scheduling": .text("Vm"),
                "features": .members(["amx": .value(.bool(false))]), "profile": .text("Host"),
            ])
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([
            ("boot_vcpus", .integer(bootVCPUs)), ("max_vcpus", .integer(maxVCPUs)), ("topology", topology?.json),
            ("kvm_hyperv", .bool(false)), ("max_phys_bits", .integer(maxPhysBits)),
            ("affinity", affinity.isEmpty ? nil : .array(affinity.map(\.json))),
            ("features", .members([("amx", .bool(false))])), ("nested", .bool(true)),
            ("core_scheduling", .string("Vm")), ("profile", .string("Host")),
        ])
    }

    func validate(_ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.range("boot_vcpus", bootVCPUs, Limits.vcpus)
        checks.range("max_vcpus", maxVCPUs, Limits.vcpus)
        checks.range("max_phys_bits", maxPhysBits, Limits.physicalAddressBits)
        if maxVCPUs < bootVCPUs {
            let boot = checks.name("boot_vcpus")
            checks.invalid("max_vcpus", "\(maxVCPUs) is less than \(boot), \(bootVCPUs); raise it or lower \(boot)")
        }
        topology?.validate(maxVCPUs, path.key("topology"), report)
        var bound: Set<UInt32> = []
        for (index, affinity) in affinity.enumerated() {
            let item = Checks(path.key("affinity").index(index), report)
            if affinity.vcpu >= maxVCPUs {
                item.invalid(
                    "vcpu", "\(affinity.vcpu) is no vCPU of this VM; its vCPUs are 0 to \(max(maxVCPUs, 1) - 1)")
            }
            if !bound.insert(affinity.vcpu).inserted {
                item.report(
                    .duplicate, "vcpu", "vCPU \(affinity.vcpu) is bound twice; put all its host CPUs into one entry")
            }
            if affinity.hostCPUs.isEmpty {
                item.invalid("host_cpus", "empty; name at least one host CPU or remove the entry")
            }
        }
    }
}

extension CPUTopology {
    init(_ reader: SectionReader) {
        let parts: ClosedRange<UInt16> = 1...4096
        self.init(
            threadsPerCore: reader.requiredInteger("threads_per_core", 1...2),
            coresPerDie: reader.requiredInteger("cores_per_die", parts),
            diesPerPackage: reader.requiredInteger("dies_per_package", parts),
            packages: reader.requiredInteger("packages", parts))
        reader.finish(["threads_per_core", "cores_per_die", "dies_per_package", "packages"])
    }

    var json: JSONValue {
        .members([
            ("threads_per_core", .integer(threadsPerCore)), ("cores_per_die", .integer(coresPerDie)),
            ("dies_per_package", .integer(diesPerPackage)), ("packages", .integer(packages)),
        ])
    }

    func validate(_ maxVCPUs: UInt32, _ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.range("threads_per_core", threadsPerCore, 1...2)
        checks.range("cores_per_die", coresPerDie, 1...4096)
        checks.range("dies_per_package", diesPerPackage, 1...4096)
        checks.range("packages", packages, 1...4096)
        if total != UInt64(maxVCPUs) {
            let product = "\(threadsPerCore) x \(coresPerDie) x \(diesPerPackage) x \(packages) is \(total)"
            let max = SpecPath().key("cpus").key("max_vcpus").lastName(report.style)
            report.issue(.invalid, path, "\(product), but \(max) is \(maxVCPUs); make them equal")
        }
    }
}

extension CPUAffinity {
    init(_ reader: SectionReader) {
        if reader.value("host_cpus") == nil { reader.missing("host_cpus", "a list of host CPU numbers") }
        self.init(
            vcpu: reader.requiredInteger("vcpu", 0...Limits.vcpus.upperBound - 1),
            hostCPUs: reader.integers("host_cpus", Limits.hostCPU))
        reader.finish(["vcpu", "host_cpus"])
    }

    var json: JSONValue {
        .members([("vcpu", .integer(vcpu)), ("host_cpus", .array(hostCPUs.map { .integer($0) }))])
    }
}
