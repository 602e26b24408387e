import Host

/// A request to `/dev/kvm` that failed, or a host whose KVM is not enough.
package enum KVMError: Error, Equatable, Sendable, CustomStringConvertible {
    /// `/dev/kvm` cannot be opened.
    case unavailable(path: String, Errno)
    /// The kernel speaks another version of the interface than 12, the only one there is.
    case version(Int32)
    /// The host's KVM lacks a capability; its name is that of api.rst.
    case missing(capability: String)
    /// A request failed.
    case request(String, Errno)
    /// A state that KVM took only in part: an MSR that it refuses.
    case refusedMSR(index: UInt32)
    /// A resource of KVM is used up: GSIs, memory slots, vCPU ids.
    case exhausted(String, limit: Int)
    /// A vCPU wrote on while its dirty ring was full, and KVM does not know any more what it wrote.
    case lostWrites

    package var description: String { problem + (remedy.map { "; \($0)" } ?? "") }

    /// What is wrong.
    package var problem: String {
        switch self {
        case .unavailable(let path, .noSuchFile): "\(path) does not exist: this host has no KVM"
        case .unavailable(let path, .accessDenied):
            "\(path) may not be opened by this user" + (FileOwnership(path: path).map { " (it is \($0.words))" } ?? "")
        case .unavailable(let path, let errno): "cannot open \(path): \(errno)"
        case .version(let version): "/dev/kvm has interface version \(version), not 12: the kernel is unusable"
        case .missing(let capability): "this host's KVM lacks \(capability)"
        case .request(let what, let errno): "KVM cannot \(what): \(errno)"
        case .refusedMSR(let index): "KVM refuses to set the MSR 0x\(String(index, radix: 16))"
        case .exhausted(let what, let limit): "this host's KVM has no more \(what): its limit is \(limit)"
        case .lostWrites: "KVM lost pages that the guest wrote: it let a vCPU go on whose dirty ring was full"
        }
    }

    /// What to do about it.
    package var remedy: String? {
        switch self {
        case .unavailable(_, .noSuchFile):
            "enable virtualisation in its firmware (or nested virtualisation in the hypervisor above) and load "
                + "kvm_intel or kvm_amd"
        case .unavailable(let path, .accessDenied):
            FileOwnership(path: path)?.remedy(path, usualGroup: "kvm") ?? "run as root"
        case .unavailable(let path, .notPermitted): "allow \(path) in the rules of the container around this process"
        case .missing: "a newer kernel has it"
        case .lostWrites: "this VM's writes cannot be noted any more; set $.memory.dirty_log to Bitmap on such a host"
        default: nil
        }
    }
}
