import Foundation

/// Debian's kernel for the sequences of other products' clients, where this run has one (`Tests/run`); elsewhere they
/// run with the self-test guest.
struct LinuxPayload {
    /// The configuration's member `payload`.
    let json: String

    /// - Parameter words: for the kernel's command line; see `Tests/Lab/guest-init`.
    init?(_ words: String) {
        let environment = ProcessInfo.processInfo.environment
        guard environment["SWIFTLET_LINUX_GUESTS"] == "1", let files = environment["SWIFTLET_GUEST_FILES"] else {
            return nil
        }
        json =
            #""payload":{"kernel":"\#(files)/vmlinux","initramfs":"\#(files)/initramfs","#
            + #""cmdline":"quiet panic=-1 \#(words)"}"#
    }
}
