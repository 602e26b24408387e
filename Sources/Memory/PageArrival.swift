import Host
import Synchronization

/// Whether all of a guest's memory is there: pages may come when they are touched, and may then fail to.
///
/// Whoever gives a guest's bytes to the world outside asks it, so that no bytes leave that were never the guest's.
@safe
package final class PageArrival: Sendable {
    private enum State { static let whole: UInt8 = 0, coming: UInt8 = 1, lost: UInt8 = 2 }
    /// SAFETY: one initialised value, freed in deinit. It has a place of its own for signal handlers to know.
    private nonisolated(unsafe) let place: UnsafeMutablePointer<Atomic<UInt8>>

    package init() {
        unsafe place = .allocate(capacity: 1)
        unsafe place.initialize(to: Atomic(State.whole))
    }

    deinit {
        unsafe place.deinitialize(count: 1)
        unsafe place.deallocate()
    }

    /// Whether pages are missing that come when they are touched, or will not come at all.
    ///
    /// Ordering: relaxed; it is switched on before the guest runs, and off when nobody has to wait any more.
    @inline(__always)
    package var isPending: Bool { unsafe place.pointee.load(ordering: .relaxed) != State.whole }

    /// Whether pages are missing for ever, and read as zeroes.
    ///
    /// Ordering: acquiring, and asked behind the access: the store comes before anybody can see such a page.
    @inline(__always)
    package var isLost: Bool { unsafe place.pointee.load(ordering: .acquiring) == State.lost }

    /// Pages come from now on when they are touched.
    package func begin() { unsafe place.pointee.store(State.coming, ordering: .releasing) }

    /// All are there.
    package func complete() {
        _ = unsafe place.pointee.compareExchange(
            expected: State.coming, desired: State.whole, ordering: .acquiringAndReleasing)
    }

    /// Those that are missing will not come; before who waits for them is let go.
    package func lose() {
        _ = unsafe place.pointee.compareExchange(
            expected: State.coming, desired: State.lost, ordering: .acquiringAndReleasing)
    }

    /// As `GuestMemory.guardPages` says.
    ///
    /// - Returns: what is to be kept as long as the ranges are in use, and no longer than they are mapped.
    func guardPages(of ranges: [HostRange], _ woken: EventFD) throws(HostError) -> PageGuard {
        // SAFETY: an Atomic has the bytes of its value; this object lives as long as the guard.
        unsafe try PageGuard(ranges, marking: UnsafeMutableRawPointer(place), with: State.lost, woken, owner: self)
    }
}
