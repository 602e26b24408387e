import CLinux
import Synchronization

/// A thread that is joined by its owner: `join` or the end of the owner waits until its work is over.
///
/// The body runs with every signal blocked but the kick, so that the process's signals reach the control thread.
package final class Thread: Sendable {
    private let handle: Atomic<UInt>
    private let identity: Identity
    /// The thread's name, at most 15 bytes, as `/proc/PID/task/TID/comm` shows it.
    package let name: String

    /// The kernel's number of the thread: set by the thread when it begins, 0 before and after.
    private final class Identity: Sendable {
        let number = Atomic<Int32>(0)
    }

    private final class Start: Sendable {
        let name: String
        let identity: Identity
        let body: @Sendable () -> Void
        init(_ name: String, _ identity: Identity, _ body: @escaping @Sendable () -> Void) {
            (self.name, self.identity, self.body) = (name, identity, body)
        }
    }

    /// Starts a thread.
    ///
    /// - Parameter stackSize: bytes; a worker needs little, and guard pages catch what is too little.
    package init(
        _ name: String, stackSize: Int = 256 << 10, _ body: @escaping @Sendable () -> Void
    ) throws(HostError) {
        self.name = name
        let identity = Identity()
        self.identity = identity
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setstacksize(&attributes, stackSize)
        defer { unsafe pthread_attr_destroy(&attributes) }
        // SAFETY: the retained box is consumed by the new thread, or right here when there is none.
        let box = unsafe Unmanaged.passRetained(Start(name, identity, body))
        let before = SignalMask.blockAll(except: [KickSignal.number])
        var thread = pthread_t()
        let result = unsafe pthread_create(
            &thread, &attributes,
            { argument in
                // SAFETY: the argument is the box that the creator retained for this thread alone.
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                // SAFETY: the kernel copies the name.
                _ = unsafe start.name.withCString { unsafe cl_set_thread_name($0) }
                // Ordering: the number orders nothing else.
                start.identity.number.store(cl_thread_id(), ordering: .relaxed)
                start.body()
                start.identity.number.store(0, ordering: .relaxed)
                return nil
            }, box.toOpaque())
        before.restore()
        guard result == 0 else {
            unsafe box.release()
            throw HostError("start the thread", name, Errno(result))
        }
        // Whoever looks for the thread by its name, as clients look for `vcpu0`, finds it from here on, though it may not
        // have run yet. Without /proc it names itself when it does.
        // SAFETY: the name's bytes live through the call, and the thread is not joined before this object exists.
        _ = unsafe name.withCString { unsafe cl_name_thread(thread, $0) }
        handle = Atomic(UInt(thread))
    }

    deinit { join() }

    /// Waits until the thread's body is over. Calling it again returns at once.
    package func join() {
        // Ordering: exchanging makes exactly one caller join; pthread_join itself orders the memory.
        let thread = handle.exchange(0, ordering: .acquiringAndReleasing)
        if thread != 0 { pthread_join(pthread_t(thread), nil) }
    }

    /// Interrupts the thread's current system call, KVM_RUN above all, by the kick signal.
    package func kick() {
        // Ordering: the handle is written once before anybody has the object; relaxed is enough.
        let thread = handle.load(ordering: .relaxed)
        if thread != 0 { _ = cl_pthread_kill(pthread_t(thread), KickSignal.number) }
    }

    /// The processor time that the thread has used, in ns, a guest's included that it runs; nil before it began and
    /// when it is over.
    package var processorTime: UInt64? {
        let number = identity.number.load(ordering: .relaxed)
        return number == 0 ? nil : HostClock.processorTime(ofThread: number)
    }

    /// Runs the thread on the given processors only.
    package func pin(to processors: [Int]) throws(HostError) {
        let thread = pthread_t(handle.load(ordering: .relaxed))
        var words = [UInt](repeating: 0, count: (processors.max() ?? 0) / 64 + 1)
        for processor in processors where processor >= 0 { words[processor / 64] |= 1 << (processor % 64) }
        // SAFETY: the kernel reads the bit mask of the given length during the call.
        let result = unsafe words.withUnsafeBytes { unsafe cl_set_affinity(thread, $0.baseAddress, $0.count) }
        guard result == 0 else {
            throw HostError("run the thread \(name) on processors \(processors)", nil, Errno(result))
        }
    }
}

/// Lets the other threads of the host go before the calling one: its share of a busy processor becomes smaller by a
/// quarter for each step (sched(7), nice values).
package func yieldPrecedence(steps: Int32) {
    // A thread's own nice value, by the kernel's reading of process 0; to raise it needs no right.
    let now = getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, now + steps)
}

/// How long the calling thread's turns on a busy processor are to be. Its share of the processor stays what it is: one that
/// takes long turns waits for them, and gives way at once to those that wake up and want shorter ones. Threads
/// and programs that it starts have what is usual. Kernels before 6.12 know no such wish, and nothing changes there.
package enum Turns: Sendable {
    /// For who has much to do, beside guests who have not.
    case long
    /// For who has little to do, for which a guest waits.
    case short

    /// Asks for them.
    package func take() { _ = cl_set_slice(self == .long ? 100_000_000 : 100_000) }
}

/// The signal that interrupts a vCPU thread: its handler does nothing.
package enum KickSignal {
    /// The signal's number.
    package static let number: Int32 = cl_sigrtmin()

    /// Installs the empty handler, once for the process, before the first vCPU thread starts.
    package static func install() throws(HostError) {
        _ = try checked(cl_install_kick_handler(number), "install the handler of signal \(number)")
    }
}
