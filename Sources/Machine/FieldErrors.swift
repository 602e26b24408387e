import CharBackend
import Host
import KVM
import Memory
import Spec
import VirtioVsock

/// What the host refuses, told as the field of the spec that asked for it, what is wrong, and what to do.
enum FieldErrors {
    /// A console's backend that cannot be opened.
    ///
    /// - Parameter section: the console's section of the spec: `serial`.
    static func console(_ section: String, _ mode: CharMode, _ error: HostError) -> MachineError {
        switch mode {
        case .file(let path):
            .spec("$.\(section).file: \(path): cannot be opened to write: \(error.errno); \(remedy(error, "a file"))")
        case .socket(let path):
            .spec(
                "$.\(section).socket: \(path): cannot be listened on: \(error.errno); "
                    + (error.errno == Errno.inUse
                        ? "somebody listens there or it is no socket: name another path" : remedy(error, "a socket")))
        case .tty, .pty, .null:
            .host("$.\(section).mode: \(error); choose another mode, for example File")
        }
    }

    /// Opens the listening socket of a vsock device.
    static func openVsock(_ settings: VsockSettings, isStandby: Bool = false) throws(MachineError) -> VsockBackend {
        do throws(HostError) {
            return try VsockBackend(settings, isStandby: isStandby)
        } catch {
            let advice =
                switch error.errno {
                case .inUse: "somebody listens there or it is no socket: name another path"
                case .tooLong: "a socket's path has at most \(Limits.socketPathLength) bytes: use a shorter one"
                default: remedy(error, "a socket")
                }
            throw .spec("$.vsock.socket: \(settings.socket): cannot be listened on: \(error.errno); \(advice)")
        }
    }

    /// What keeps a console's file or socket from being made, as far as that can be seen without making it: a socket that
    /// somebody listens at may be that of the machine that is to come.
    ///
    /// - Parameter section: the section of the spec that names it: `$.serial`.
    static func obstacle(to mode: CharMode, at section: String) -> String? {
        switch mode {
        case .tty, .pty, .null: nil
        case .file(let path): obstacle(path, "\(section).file", socket: false)
        case .socket(let path): obstacle(path, "\(section).socket", socket: true)
        }
    }

    private static func obstacle(_ path: String, _ field: String, socket: Bool) -> String? {
        let what = socket ? "a socket" : "a file"
        guard let kind = FileStatus.kind(at: path) else {
            let directory = Directory.parent(of: path)
            guard FileStatus.kind(at: directory) == .directory else {
                return "\(field): \(path): there is no directory \(directory); name \(what) in one that exists there"
            }
            return nil
        }
        if kind == .directory { return "\(field): \(path): is a directory; name \(what) in it" }
        if socket, kind != .socket { return "\(field): \(path): is there already, and no socket: name another path" }
        return nil
    }

    private static func remedy(_ error: HostError, _ what: String) -> String {
        switch error.errno {
        case .accessDenied, .notPermitted, .readOnly: "name \(what) in a directory that this user may write"
        case .isDirectory: "name \(what) in it"
        default: "name \(what) in a directory that exists"
        }
    }

    /// Opens the source of random bytes once, to see that it gives some.
    static func checkEntropy(_ path: String) throws(MachineError) {
        let advice = "name a source of random bytes, like /dev/urandom"
        do throws(HostError) {
            let kind = try FileDescriptor.openForReading(path).status().kind
            guard kind == .directory else { return }
        } catch {
            throw .spec("$.rng.src: \(path): cannot be opened: \(error.errno); \(advice)")
        }
        throw .spec("$.rng.src: \(path): is a directory; \(advice)")
    }

    /// Looks whether the host has enough huge pages, free or to be made when they are asked for (its overcommit limit).
    ///
    /// - Parameter sysfs: where the kernel counts them, a directory for each size.
    static func checkHugePages(_ plan: MachinePlan, sysfs: String = "/sys/kernel/mm/hugepages") throws(MachineError) {
        guard let page = plan.backing.hugePageSize, page > 0 else { return }
        let wanted = Int(clamping: plan.memory.ranges.reduce(0) { $0 + $1.size / page })
        let directory = "\(sysfs)/hugepages-\(page >> 10)kB"
        let needed = "$.memory.hugepages: \(wanted) huge pages of \(page >> 10) KiB are needed, and "
        func number(_ name: String) -> Int { HostProbe.number("\(directory)/\(name)") ?? 0 }
        guard HostProbe.number("\(directory)/nr_hugepages") != nil else {
            throw .host(
                "\(needed)0 are free: this host's kernel has none of that size; set hugepage_size to another one, or "
                    + "leave hugepages out")
        }
        let usable = max(0, number("free_hugepages") - number("resv_hugepages"))
        let spare = max(0, number("nr_overcommit_hugepages") - number("surplus_hugepages"))
        guard usable.addingReportingOverflow(spare).partialValue < wanted else { return }
        let (enough, _) = number("nr_hugepages").addingReportingOverflow(wanted - usable)
        throw .host(
            "\(needed)\(usable) are free; reserve them as root, echo \(enough) > \(directory)/nr_hugepages, or leave "
                + "hugepages out")
    }

    /// Looks whether the host could ever hold the guest's memory; how much of it is free now is not asked, since guests
    /// rarely use all that they have.
    ///
    /// - Parameter host: the host's RAM and swap space in bytes.
    static func checkMemory(_ plan: MachinePlan, host: (ram: UInt64, swap: UInt64) = HostProbe.memory)
        throws(MachineError)
    {
        let wanted = plan.memory.ranges.reduce(0) { $0 + $1.size }
        let (limit, overflow) = host.ram.addingReportingOverflow(host.swap)
        // Huge pages are counted by themselves.
        guard plan.backing.hugePageSize == nil, !overflow, wanted > limit else { return }
        throw .host(
            "$.memory.size: \(wanted >> 20) MiB are more than this host could ever hold, \(host.ram >> 20) MiB of RAM and "
                + "\(host.swap >> 20) MiB of swap; lower it, or add swap space")
    }

    /// Lets this process open as many files as a machine takes: a vCPU and each queue hold a few, and a limit of 1024 is
    /// usual.
    ///
    /// - Parameter raise: raises the limit to a number if it may, and says what it is then.
    static func provideFiles(_ plan: MachinePlan, raise: (Int) -> Int = { OpenFileLimit.raise(to: $0) })
        throws(MachineError)
    {
        let queues = plan.devices.reduce(0) { $0 + $1.kind.queueCount }
        // A vCPU has its own and an event; a queue a kick, an interrupt, and its worker's two; beside them stand the
        // process's own and those of the devices.
        let needed = 32 + 2 * plan.processors.boot + 4 * queues + plan.devices.count
        // Connections, and devices that come later.
        let limit = raise(needed + 1024)
        guard limit < needed else { return }
        throw .host(
            "\(plan.processors.boot) vCPUs and \(queues) queues take about \(needed) open files, and this process may have "
                + "\(limit); raise its hard limit (ulimit -Hn, or LimitNOFILE of its unit), or lower $.cpus.boot_vcpus or "
                + "num_queues of the devices")
    }

    /// A dirty log that this host's KVM does not have.
    static let dirtyRings = MachineError.host(
        "$.memory.dirty_log: this host's KVM has no dirty rings (KVM_CAP_DIRTY_LOG_RING, Linux 5.11 and newer); make it "
            + "Bitmap or leave it out")

    /// More vCPUs than KVM takes.
    static func vcpus(_ wanted: Int, limit: Int) -> MachineError {
        .host("$.cpus.boot_vcpus: \(wanted) vCPUs are more than this host's KVM takes; make it at most \(limit)")
    }

    /// A vCPU thread that may not run on the processors that the spec names.
    static func affinity(_ vcpu: Int, _ plan: PlannedProcessors, _ error: HostError) -> MachineError {
        let field = "$.cpus.affinity[\(plan.affinityEntries[vcpu] ?? 0)].host_cpus"
        guard error.errno == .invalid else { return .host("\(field): vCPU \(vcpu): \(error)") }
        let processors = plan.affinity[vcpu] ?? []
        return .spec(
            "\(field): vCPU \(vcpu): this process may run on none of the host CPUs "
                + "\(processors.map(String.init).joined(separator: ", ")); name some that are online (see nproc, taskset)"
        )
    }
}

extension Errno {
    /// `EADDRINUSE`.
    fileprivate static let inUse = Errno(98)
    /// `ENAMETOOLONG`.
    fileprivate static let tooLong = Errno(36)
}
