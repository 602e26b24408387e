import CLinux

/// Keeps the process alive where mapped files lose pages, as `cl_guard_pages` says, as long as this object lives.
package final class PageGuard: Sendable {
    private let guards: [Int32]
    private let woken: EventFD
    private let owner: any AnyObject & Sendable

    /// - Parameters:
    ///   - ranges: whole pages, which stay mapped as long as this object.
    ///   - state: a byte of the owner's, read and written as an atomic one.
    ///   - lost: its value from the first lost page on.
    ///   - woken: signalled for each.
    /// - Throws: ``HostError`` where the process has too many guards.
    package init(
        _ ranges: [HostRange], marking state: UnsafeMutableRawPointer, with lost: UInt8, _ woken: EventFD,
        owner: any AnyObject & Sendable
    ) throws(HostError) {
        (self.woken, self.owner) = (woken, owner)
        var guards: [Int32] = []
        for range in ranges {
            // SAFETY: the owner keeps the byte, and this object the owner.
            let result = unsafe cl_guard_pages(UInt(bitPattern: range.base), range.count, state, lost, woken.raw)
            guard result >= 0 else {
                for number in guards { cl_unguard_pages(number) }
                throw HostError("guard \(range.count) bytes of mapped files", nil, Errno(-result))
            }
            guards.append(result)
        }
        self.guards = guards
    }

    deinit { for number in guards { cl_unguard_pages(number) } }
}
