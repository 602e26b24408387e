import Host

/// What the kernel says of this process's memory, in bytes (proc(5), `/proc/self/status`).
struct ProcessReading: Equatable, Sendable {
    /// Resident memory by kind: anonymous, of files, shared.
    var anonymous: UInt64 = 0, file: UInt64 = 0, shared: UInt64 = 0
    /// Address space.
    var virtual: UInt64 = 0
    var threads: UInt64 = 0

    var resident: UInt64 { anonymous &+ file &+ shared }

    /// The process now; nil where `/proc` is not to be had.
    static var current: ProcessReading? {
        guard let file = try? FileDescriptor.openForReading("/proc/self/status"),
            let bytes = try? file.readAll(limit: 64 << 10)
        else { return nil }
        return ProcessReading(status: String(decoding: bytes, as: UTF8.self))
    }

    /// Reads the text of `/proc/PID/status`.
    init(status: String) {
        for line in status.split(separator: "\n") {
            let words = line.split { $0 == " " || $0 == "\t" }
            guard words.count >= 2, let number = UInt64(words[1]) else { continue }
            let bytes = number.multipliedReportingOverflow(by: 1024).partialValue
            switch words[0] {
            case "RssAnon:": anonymous = bytes
            case "RssFile:": file = bytes
            case "RssShmem:": shared = bytes
            case "VmSize:": virtual = bytes
            case "Threads:": threads = number
            default: break
            }
        }
    }
}
