import Synchronization

/// Whether all of a guest's memory is there: pages may come when they are touched, and may then fail to.
///
/// Whoever gives a guest's bytes to the world outside asks it, so that no bytes leave that were never the guest's.
package final class PageArrival: Sendable {
    private enum State { static let whole: UInt8 = 0, coming: UInt8 = 1, lost: UInt8 = 2 }
    private let state = Atomic<UInt8>(State.whole)

    package init() {}

    /// Whether pages are missing that come when they are touched, or will not come at all.
    ///
    /// Ordering: relaxed; it is switched on before the guest runs, and off when nobody has to wait any more.
    @inline(__always)
    package var isPending: Bool { state.load(ordering: .relaxed) != State.whole }

    /// Whether pages are missing for ever, and read as zeroes.
    ///
    /// Ordering: acquiring, and asked behind the access: the store comes before anybody can see such a page.
    @inline(__always)
    package var isLost: Bool { state.load(ordering: .acquiring) == State.lost }

    /// Pages come from now on when they are touched.
    package func begin() { state.store(State.coming, ordering: .releasing) }

    /// All are there.
    package func complete() {
        _ = state.compareExchange(expected: State.coming, desired: State.whole, ordering: .acquiringAndReleasing)
    }

    /// Those that are missing will not come; before who waits for them is let go.
    package func lose() {
        _ = state.compareExchange(expected: State.coming, desired: State.lost, ordering: .acquiringAndReleasing)
    }
}
