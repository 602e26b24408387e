import Foundation
import TestSupport

/// Whether and with what Linux guests run here, as `Tests/run` says in the environment.
enum GuestFiles {
    /// Debian's kernel in the two forms that boot.
    enum Kernel: String, Sendable {
        /// The ELF, entered by PVH.
        case vmlinux
        /// As the package ships it, entered by the 64-bit Linux boot protocol.
        case bzImage
    }

    /// A test of a Linux guest cannot run here, and how it can.
    struct CannotRun: Error, CustomStringConvertible {
        let description: String
    }

    private static let environment = ProcessInfo.processInfo.environment

    /// Where `Tests/Lab/guest` keeps what guests boot.
    private static var directory: String {
        if let path = environment["SWIFTLET_GUEST_FILES"], !path.isEmpty { return path }
        let cache = environment["XDG_CACHE_HOME"] ?? "\(environment["HOME"] ?? "/root")/.cache"
        return "\(cache)/swiftlet-lab/guest"
    }

    /// The path of one of those files.
    ///
    /// - Throws: ``CannotRun`` unless this process was told that it may run Linux guests.
    static func path(_ name: String) throws -> String {
        guard environment["SWIFTLET_LINUX_GUESTS"] == "1" else {
            throw CannotRun(
                description: """
                    tests of Linux guests need a KVM that boots Linux: run Tests/run, which runs them here or in the \
                    lab; or, where KVM boots Linux, set SWIFTLET_LINUX_GUESTS=1 after running Tests/Lab/guest
                    """)
        }
        let path = "\(directory)/\(name)"
        guard FileManager.default.fileExists(atPath: path) else {
            throw CannotRun(description: "no \(path): run Tests/Lab/guest, or set SWIFTLET_GUEST_FILES")
        }
        return path
    }

    /// The path of Debian's kernel.
    static func kernel(_ kernel: Kernel) throws -> String { try path(kernel.rawValue) }

    /// The kernel's release, as the guest's `uname -r` prints it.
    static func release() throws -> String {
        try String(contentsOfFile: try path("release"), encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// How long one guest may take, in wall time: under emulation everything takes ten times longer.
    static var limit: Int { environment["SWIFTLET_GUEST_SECONDS"].flatMap { Int($0) } ?? 120 }
}
