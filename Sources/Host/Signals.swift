import CLinux

/// The calling thread's set of blocked signals as it was.
package struct SignalMask: ~Copyable {
    private var set: sigset_t

    /// Blocks every signal on the calling thread but the given ones and the faults, and returns the set before.
    package static func blockAll(except signals: [Int32]) -> SignalMask {
        var wanted = sigset_t()
        var before = sigset_t()
        // SAFETY: the sets are locals that the calls fill or read.
        unsafe sigfillset(&wanted)
        for signal in signals + [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP] {
            unsafe sigdelset(&wanted, signal)
        }
        unsafe pthread_sigmask(SIG_SETMASK, &wanted, &before)
        return SignalMask(set: before)
    }

    /// Brings the set back, on the thread that made it.
    package consuming func restore() {
        var before = set
        // SAFETY: the set is a local that the call reads.
        unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    }
}

/// Blocks signals on the calling thread, and so on those that it starts: they wait until somebody takes them.
///
/// - Returns: the set of these signals.
@discardableResult package func hold(_ signals: [Int32]) -> sigset_t {
    var set = sigset_t()
    // SAFETY: the set is a local that the calls fill or read.
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    return set
}

/// Whether one of these blocked signals waits for the process; it stays where it is.
package func isPending(_ signals: [Int32]) -> Bool {
    var pending = sigset_t()
    // SAFETY: the kernel fills the local.
    guard unsafe sigpending(&pending) == 0 else { return false }
    return signals.contains { unsafe sigismember(&pending, $0) == 1 }
}

/// Makes a write to a pipe or socket that nobody reads any more an error (`EPIPE`) instead of the process's end, and so
/// one to a file that gets longer than the process may write (`EFBIG`, setrlimit(2)).
package func ignoreWriteSignals() { cl_ignore_write_signals() }

/// Opens `/dev/null` in place of standard input, output or error that the process was started without, so that no file
/// of ours gets such a number.
package func openStandardDescriptors() { cl_open_standard_descriptors() }

/// Signals of the process, delivered as readable records on a descriptor (`signalfd(2)`).
package struct SignalFD: ~Copyable, Sendable {
    private let file: FileDescriptor

    /// Blocks the signals on the calling thread, and so on those that it starts, and receives them here.
    package init(_ signals: [Int32]) throws(HostError) {
        var set = hold(signals)
        // SAFETY: the call reads the local.
        let raw = unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC) | Int32(SFD_NONBLOCK))
        guard raw >= 0 else { throw HostError("create a signalfd", nil, Errno.current) }
        file = FileDescriptor(owning: raw)
    }

    /// The descriptor's number, for epoll.
    package var raw: Int32 { file.raw }

    /// The next pending signal's number, or nil.
    package borrowing func next() -> Int32? {
        var information = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        // SAFETY: the kernel fills at most `size` bytes of the local.
        let count = unsafe withUnsafeMutableBytes(of: &information) { unsafe read(file.raw, $0.baseAddress, size) }
        return count == size ? Int32(information.ssi_signo) : nil
    }
}
