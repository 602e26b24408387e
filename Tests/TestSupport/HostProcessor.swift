import Foundation

/// What this host's processor does for guests.
package enum HostProcessor {
    /// Whether KVM has it run the guests, in place of emulating what their kernels do.
    package static let runsGuests = ["kvm_intel", "kvm_amd"].contains {
        FileManager.default.fileExists(atPath: "/sys/module/\($0)")
    }
}
