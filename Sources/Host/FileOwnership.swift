import CLinux

/// Who may open a file or device, to advise a user who may not.
package struct FileOwnership: Equatable, Sendable {
    /// The numbers of its owner and group, and its permission bits.
    package let owner: UInt32, group: UInt32, mode: UInt32

    package init(owner: UInt32, group: UInt32, mode: UInt32) {
        (self.owner, self.group, self.mode) = (owner, group, mode & 0o7777)
    }

    /// Looks at a file; nil where there is none, or none that may be looked at.
    package init?(path: String) {
        var status = stat()
        // SAFETY: stat fills the structure that it is given; the path's bytes live through the call.
        guard unsafe stat(path, &status) == 0 else { return nil }
        self.init(owner: status.st_uid, group: status.st_gid, mode: status.st_mode)
    }

    /// The owner, the group and the mode in words: `root:kvm, mode 0660`.
    package var words: String {
        let digits = String(mode, radix: 8)
        let padded = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        return "\(Self.name(owner, in: "/etc/passwd")):\(Self.name(group, in: "/etc/group")), mode \(padded)"
    }

    /// What gives a user access to read and write who has none.
    ///
    /// - Parameters:
    ///   - path: the file's.
    ///   - usualGroup: the group that owns such a device elsewhere; nil where everybody may open it there.
    package func remedy(_ path: String, usualGroup: String?) -> String {
        if mode & 0o006 == 0o006 {
            return "its mode lets every user in, so a container or a security module keeps this one out: allow the "
                + "device there"
        }
        // The group root is not one to put users into.
        if mode & 0o060 == 0o060, group != 0 {
            let name = Self.name(group, in: "/etc/group")
            return "add the user to the group \(name) (usermod -aG \(name) $USER, then log in again), or run as root"
        }
        guard let usualGroup else { return "run as root, or as root: chmod 666 \(path)" }
        return "run as root, or give the device to the group \(usualGroup) (as root: chgrp \(usualGroup) \(path) && "
            + "chmod 660 \(path)) and add the user to it (usermod -aG \(usualGroup) $USER, then log in again)"
    }

    /// The name of a user or group by its number; the number where no line has it.
    private static func name(_ number: UInt32, in path: String) -> String {
        guard let file = try? FileDescriptor.openForReading(path), let bytes = try? file.readAll(limit: 16 << 20) else {
            return String(number)
        }
        let wanted = Array(String(number).utf8)
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            if fields.count >= 3, fields[2].elementsEqual(wanted) { return String(decoding: fields[0], as: UTF8.self) }
        }
        return String(number)
    }
}
