import TestSupport
import Testing

/// A block device of the host over a file, until the last reference goes.
final class LoopDevice: Sendable {
    /// Its path: `/dev/loop0`.
    let path: String

    /// - Parameters:
    ///   - file: what it is over.
    ///   - options: of `losetup`: `-b 4096` for its logical blocks, `-r` to be read only, `-P` to have its partitions.
    init(_ file: String, _ options: String...) throws {
        // Built into some kernels, a module of others.
        _ = try runProcess(Command("modprobe", ["loop"]))
        let made = try runProcess(Command("losetup", options + ["--find", "--show", file]))
        try #require(made.succeeded, "\(made)")
        path = made.text.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
    }

    deinit { _ = try? runProcess(Command("losetup", ["--detach", path])) }
}
