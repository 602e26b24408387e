import Snapshot

/// The machine that leaves. The sender's thread calls it.
package protocol MigrationSource: AnyObject, Sendable {
    /// What it is, for the destination to judge.
    func describe() throws(MigrationError) -> Hello
    /// Its RAM.
    var regions: [MemoryRegion] { get }
    /// The descriptor of its memory, for a peer on the same host; nil where it has none.
    var memoryDescriptor: Int32? { get }
    /// Its disks, where their images come along; nil where the destination has them already.
    var mirror: (any MirrorSource)? { get }
    /// Notes from now on which pages are written.
    func beginLogging() throws(MigrationError)
    /// The pages that were written since the last time, and forgets them: for each region, page i in bit i % 64 of word
    /// i / 64. One that was among them, or any page before the first time, may not be noted again before `beginReading`.
    func takeWritten() throws(MigrationError) -> [[UInt64]]
    /// Has what is written to these pages of a region from now on be in the next `takeWritten`. It comes before they are
    /// read while the guest runs, from any of the sender's threads.
    func beginReading(_ region: Int, _ pages: Range<Int>) throws(MigrationError)
    /// Notes no more; nothing if it did not.
    func endLogging()
    /// Holds the vCPUs back by so many per cent; 0 lets them go.
    func throttle(_ percent: Int)
    /// Has it stand still, and finishes what its devices have begun.
    func pause() throws(MigrationError)
    /// What of it stays as it is until it stops; nil for nothing that helps.
    func outline() throws(MigrationError) -> [UInt8]?
    /// Does once what is to be done fast when the machine stands still: code and data are in the processor's caches then.
    func rehearse()
    /// Begins to take all that it is but its memory; it stands still.
    ///
    /// - Parameter packed: whether the destination reads the packed form.
    func beginState(packed: Bool)
    /// What was begun so.
    func state() throws(MigrationError) -> [UInt8]
    /// Lets go of the disks and interfaces, for the destination to take.
    func release() throws(MigrationError)
    /// Takes them again.
    func takeBack() throws(MigrationError)
    /// Goes on after `pause` if it ran before.
    func resume() throws(MigrationError)
    /// Ends here: it is the destination's.
    func end()
}

/// Where a machine arrives. The receiver's control thread calls it.
package protocol MigrationSink: AnyObject, Sendable {
    /// Every reason why the machine could not run here.
    func reasonsAgainst(_ hello: Hello) -> [String]
    /// Makes room for its memory, which holds zeroes, or is what the descriptor has.
    func prepare(_ hello: Hello, memory: consuming ReceivedMemory?) throws(MigrationError) -> [MemoryRegion]
    /// Begins to make the machine, without its state and what the source still has, so that its guest does not wait for that
    /// later. It is behind `prepare`, and nothing is lost where it comes to nothing.
    func standBy(_ outline: [UInt8])
    /// Waits for that, if it was begun, and does once more what is to be done fast when the guest waits for it.
    func rehearse()
    /// The images of its disks, where they come along: there from `prepare` on.
    var disks: ArrivingDisks? { get }
    /// Takes its state, and checks it.
    func load(_ state: [UInt8]) throws(MigrationError)
    /// Takes the disks and interfaces and makes the machine, which stands still.
    func build() throws(MigrationError)
    /// It is ours: has it go on, if it ran. What fails here leaves it standing still, and ours.
    func start() throws(MigrationError)
    /// Drops whatever there is of it.
    func discard()
    /// Where a machine arrives before its memory does; nil where none can.
    var postcopy: (any PostcopySink)? { get }
}

extension MigrationSink {
    package var postcopy: (any PostcopySink)? { nil }
}

/// Where a machine arrives whose memory follows it. The receiver's control thread calls it, which waits for none of this.
package protocol PostcopySink: AnyObject, Sendable {
    /// The memory that was made for it, which nobody has touched yet.
    var target: DemandPager.Target? { get }
    /// Its pages come from there until it is over with them.
    func take(_ pager: PostcopyPager)
    /// Nobody waits for pages any more, since all are there; or nobody will from now on, since the guest is over.
    func paged(_ over: PostcopyPager.Over)
    /// Has the guest stand still, if it runs: its pages do not come.
    func hold(_ reason: String)
    /// Has it go on after that.
    func letGo()
}

extension MigrationSource {
    package var mirror: (any MirrorSource)? { nil }
    package func outline() throws(MigrationError) -> [UInt8]? { nil }
    package func rehearse() {}
    package func beginState(packed: Bool) {}
}

extension MigrationSink {
    package var disks: ArrivingDisks? { nil }
    package func standBy(_ outline: [UInt8]) {}
    package func rehearse() {}
}
