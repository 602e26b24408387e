import CLinux

/// A program of the user's that is told of something and may object.
package enum HookProgram {
    /// How a program ended.
    package enum Ending: Equatable, Sendable {
        case exited(Int32)
        case signalled(Int32)
        /// It was killed: its time was up, or whoever waited gave up.
        case killed
    }

    /// Runs a program without arguments and waits for it.
    ///
    /// - Parameters:
    ///   - input: what it reads from its standard input. Its output goes where this process's goes.
    ///   - milliseconds: how long it may take.
    ///   - stop: ends the waiting while its counter is above zero.
    /// - Throws: when it cannot be started.
    package static func run(
        _ path: String, input: [UInt8], within milliseconds: Int, heeding stop: EventFD? = nil
    ) throws(HostError) -> Ending {
        // SAFETY: the name is a constant that the kernel copies.
        let file = FileDescriptor(
            owning: try checked(unsafe cl_memfd_create("hook", CL_MFD_CLOEXEC), "create a memory file"))
        do throws(Errno) { try file.writeAll(input) } catch { throw HostError("write what is for", path, error) }
        guard lseek(file.raw, 0, SEEK_SET) == 0 else { throw HostError("write what is for", path, .current) }
        // SAFETY: the path's bytes live through the call.
        let process = try checked(unsafe cl_start_program(path, file.raw), "start", path)
        let deadline = HostClock.monotonic &+ UInt64(max(0, milliseconds)) &* 1_000_000
        var status: Int32 = 0
        let noHang: Int32 = 1
        // SAFETY: the call fills the local.
        while try checked(unsafe cl_wait_program(process, &status, noHang), "wait for", path) == 0 {
            if HostClock.monotonic >= deadline || stop?.isPending == true {
                kill(process, SIGKILL)
                // SAFETY: as above.
                _ = try checked(unsafe cl_wait_program(process, &status, 0), "wait for", path)
                return .killed
            }
            HostClock.sleep(milliseconds: 2)
        }
        // As wait(2) encodes it: a signal's number in the low seven bits, else the exit status in the next eight.
        let signal = status & 0x7F
        return signal != 0 ? .signalled(signal) : .exited(status >> 8 & 0xFF)
    }
}
