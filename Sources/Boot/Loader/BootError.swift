import Host
import Memory

/// A payload that cannot be booted: which part of the configuration names it, what is wrong, and what to do.
package struct BootError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The JSON path of the field: `$.payload.kernel`.
    package let field: String
    /// The file, or another name of the bytes.
    package let subject: String
    /// What is wrong.
    package let problem: String
    /// What to do about it.
    package let remedy: String?
    /// The kernel's reason, where a file cannot be opened.
    package let errno: Errno?

    package init(_ field: String, _ subject: String, _ problem: String, remedy: String? = nil, errno: Errno? = nil) {
        (self.field, self.subject, self.problem, self.remedy) = (field, subject, problem, remedy)
        self.errno = errno
    }

    package var description: String {
        let name = subject.isEmpty ? "" : " \(subject):"
        return "\(field):\(name) \(problem)" + (remedy.map { "; \($0)" } ?? "")
    }
}

/// `12345678 bytes` in words that fit its size.
func humanSize(_ bytes: UInt64) -> String {
    let units: [(UInt64, String)] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
    for (unit, name) in units where bytes >= unit && bytes % unit == 0 { return "\(bytes / unit) \(name)" }
    return "\(bytes) bytes"
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
