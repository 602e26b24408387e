import CLinux

/// Who may use the files that this process makes.
package enum FileAccess {
    /// Gives a file to a group, if there is one to give it to, and sets its permissions.
    package static func give(_ path: String, toGroup group: UInt32?, mode: UInt32) throws(HostError) {
        // SAFETY: the path's bytes live through each call.
        if let group, unsafe lchown(path, uid_t.max, group) != 0 {
            throw HostError("give to group \(group) the file", path, Errno.current)
        }
        guard unsafe chmod(path, mode) == 0 else {
            throw HostError("set the permissions of", path, Errno.current)
        }
    }

    /// The number of a group, given by number or by a name in `/etc/group`; nil when there is no such name.
    ///
    /// The C library's own look-up loads modules, which a static executable cannot.
    package static func group(_ name: String) throws(HostError) -> UInt32? {
        if let number = UInt32(name) { return number == .max ? nil : number }
        let path = "/etc/group"
        let file = try FileDescriptor.openForReading(path)
        let bytes: [UInt8]
        do { bytes = try file.readAll(limit: 16 << 20) } catch { throw HostError("read", path, error) }
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            guard fields.count >= 3, fields[0].elementsEqual(name.utf8) else { continue }
            return UInt32(String(decoding: fields[2], as: UTF8.self))
        }
        return nil
    }
}
