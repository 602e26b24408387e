/// Where pages of a guest's memory come from while it runs. Whoever has the guest stops it before the memory goes.
package protocol GuestPaging: AnyObject, Sendable {
    /// What was done so far.
    var reading: MemoryPaging.Reading { get }
    /// Why pages of the memory cannot be had; nil as long as they can.
    var failure: SnapshotError? { get }
    /// Waits until all the memory is there, for whoever reads all of it, or refuses to.
    func finish() throws(SnapshotError)
    /// Lets who waits for a page go on, without it; the guest was told to stop.
    func release()
    /// The guest goes on.
    func guestRuns()
    /// Ends it, when the guest has stopped, and waits for that.
    func stop()
}

extension MemoryPaging: GuestPaging {}
