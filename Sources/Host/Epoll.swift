import CLinux

/// A set of descriptors to wait on (`epoll(7)`), each with a token of the owner's choice.
package struct Epoll: ~Copyable, Sendable {
    private let file: FileDescriptor

    /// Which readiness to wait for.
    package struct Interest: OptionSet, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }
        /// The standard library's own has the runtime look through all conformances of the executable, half a ms.
        package init(arrayLiteral elements: Interest...) {
            self.init(rawValue: elements.reduce(0) { $0 | $1.rawValue })
        }
        /// Bytes to read, a connection to accept, a counter above zero.
        package static let readable = Interest(rawValue: EPOLLIN.rawValue)
        /// Room to write.
        package static let writable = Interest(rawValue: EPOLLOUT.rawValue)
        /// The other side closed; reported whether asked for or not.
        package static let hangUp = Interest(rawValue: EPOLLHUP.rawValue)
        /// An error is pending; reported whether asked for or not.
        package static let error = Interest(rawValue: EPOLLERR.rawValue)
        /// The other side closed its writing half.
        package static let readHangUp = Interest(rawValue: EPOLLRDHUP.rawValue)
        /// Report changes only: a counter needs no read to be re-armed.
        package static let edgeTriggered = Interest(rawValue: CL_EPOLLET)
    }

    /// What became ready.
    package struct Event: Sendable {
        /// The token given with `add`.
        package let token: UInt64
        /// What it is ready for.
        package let ready: Interest
    }

    /// Creates an empty set.
    package init() throws(HostError) {
        let raw = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard raw >= 0 else { throw HostError("create an epoll set", nil, Errno.current) }
        file = FileDescriptor(owning: raw)
    }

    /// Adds a descriptor.
    package borrowing func add(_ descriptor: Int32, _ interest: Interest, token: UInt64) throws(HostError) {
        try control(EPOLL_CTL_ADD, descriptor, interest, token, "add a descriptor to an epoll set")
    }

    /// Changes what is waited for on a descriptor.
    package borrowing func modify(_ descriptor: Int32, _ interest: Interest, token: UInt64) throws(HostError) {
        try control(EPOLL_CTL_MOD, descriptor, interest, token, "change a descriptor in an epoll set")
    }

    /// Removes a descriptor; one that is not in the set is no error.
    package borrowing func remove(_ descriptor: Int32) {
        try? control(EPOLL_CTL_DEL, descriptor, [], 0, "remove a descriptor from an epoll set")
    }

    private borrowing func control(
        _ operation: Int32, _ descriptor: Int32, _ interest: Interest, _ token: UInt64, _ what: String
    ) throws(HostError) {
        var event = unsafe epoll_event(events: interest.rawValue, data: epoll_data_t(u64: token))
        // SAFETY: the kernel copies the event during the call.
        guard unsafe epoll_ctl(file.raw, operation, descriptor, &event) == 0 else {
            throw HostError(what, nil, Errno.current)
        }
    }

    /// Waits until something is ready and calls `body` for each such descriptor, at most 16 at once.
    ///
    /// - Parameter timeout: milliseconds; -1 waits for ever.
    /// - Returns: how many were ready; 0 after the timeout or a signal.
    @discardableResult
    package borrowing func wait(timeout: Int32 = -1, _ body: (Event) -> Void) -> Int {
        var events = unsafe InlineArray<16, epoll_event>(repeating: epoll_event())
        // SAFETY: the kernel fills at most 16 elements of the local array, which outlives the call.
        let count = unsafe withUnsafeMutableBytes(of: &events) { space in
            unsafe epoll_wait(file.raw, space.baseAddress?.assumingMemoryBound(to: epoll_event.self), 16, timeout)
        }
        guard count > 0 else { return 0 }
        for index in 0..<Int(count) {
            let event = unsafe events[index]
            body(Event(token: unsafe event.data.u64, ready: Interest(rawValue: unsafe event.events)))
        }
        return Int(count)
    }
}
