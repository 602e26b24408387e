import CLinux

/// Looks at what the host's kernel offers, without changing anything.
package enum HostProbe {
    /// nil when io_uring may be used, else why not.
    package static var ioUring: Errno? { errno(cl_probe_io_uring()) }
    /// nil when userfaultfd may be used, else why not.
    package static var userfaultfd: Errno? { errno(cl_probe_userfaultfd()) }

    /// nil when a file or device can be opened for reading and writing, else why not.
    package static func open(_ path: String) -> Errno? {
        do throws(HostError) {
            _ = try FileDescriptor.open(path, O_RDWR | O_NONBLOCK)
            return nil
        } catch {
            return error.errno
        }
    }

    /// nil when a file can be opened for reading, else why not.
    package static func openForReading(_ path: String) -> Errno? {
        do throws(HostError) {
            _ = try FileDescriptor.openForReading(path)
            return nil
        } catch {
            return error.errno
        }
    }

    /// A number in a file of sysfs or procfs.
    package static func number(_ path: String) -> Int? {
        guard let file = try? FileDescriptor.openForReading(path), let bytes = try? file.readAll(limit: 4096) else {
            return nil
        }
        return Int(String(decoding: bytes, as: UTF8.self).filter { $0.isNumber })
    }

    /// The host's RAM and swap space in bytes (sysinfo(2)).
    package static var memory: (ram: UInt64, swap: UInt64) {
        var ram: UInt64 = 0
        var swap: UInt64 = 0
        // SAFETY: the shim fills the two locals.
        guard unsafe cl_host_memory(&ram, &swap) == 0 else { return (.max, 0) }
        return (ram, swap)
    }

    private static func errno(_ result: Int32) -> Errno? { result < 0 ? Errno(-result) : nil }
}

/// A file in memory that others reach by a path of this process; for output that is read back.
package final class ScratchFile: Sendable {
    private let file: FileDescriptor

    package init() throws(HostError) {
        // SAFETY: the name is a constant that the kernel copies.
        file = FileDescriptor(
            owning: try checked(unsafe cl_memfd_create("scratch", CL_MFD_CLOEXEC), "create a memory file"))
    }

    /// Where this process opens it.
    package var path: String { "/proc/self/fd/\(file.raw)" }

    /// What was written so far.
    package var text: String {
        let size = (try? file.status().size) ?? 0
        let bytes = (try? file.readExactly(Int(size), at: 0, path: path)) ?? []
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension HostProbe {
    /// The processors that this process may run on now, at least 1.
    package static var processorCount: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }
}
