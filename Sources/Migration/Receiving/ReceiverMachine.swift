/// What the destination of a migration does next: a value, without descriptors, threads or time.
///
///     waiting ─accepted→ receiving(1) ─roundEnd→ receiving(2) … ─stateCame→ loaded
///     loaded ─released→ building ─built→ prepared ─committed→ running
///
///     before running: ─failed→ discarded (nothing of the machine is left, and no commit is heard any more)
///     running:        ─failed→ running   (it is the destination's, whatever becomes of the connection)
package struct ReceiverMachine: Equatable, Sendable {
    package enum State: Equatable, Sendable {
        case waiting
        /// The round at hand, from 1.
        case receiving(Int)
        /// Memory and state are here.
        case loaded
        /// The source has let go of the disks and interfaces.
        case building
        /// The machine stands here as it was, still.
        case prepared
        /// The machine is the destination's.
        case running
        /// Nothing of it is here.
        case discarded
    }

    package enum Event: Equatable, Sendable, CaseIterable {
        case accepted, roundEnd, stateCame, released, built, committed, failed
    }

    package private(set) var state = State.waiting

    package init() {}

    /// Whether the guest may run here.
    package var mayRun: Bool { state == .running }

    /// Takes an event.
    ///
    /// - Throws: where it cannot happen now; the state stays.
    package mutating func handle(_ event: Event) throws(MigrationError) {
        guard let next = next(event) else {
            throw .violation("\(event) came while the destination was \(name)")
        }
        state = next
    }

    private func next(_ event: Event) -> State? {
        switch (state, event) {
        case (.waiting, .accepted): .receiving(1)
        case (.receiving(let round), .roundEnd): .receiving(round + 1)
        case (.receiving, .stateCame): .loaded
        case (.loaded, .released): .building
        case (.building, .built): .prepared
        case (.prepared, .committed): .running
        case (.waiting, .failed), (.receiving, .failed), (.loaded, .failed), (.building, .failed), (.prepared, .failed):
            .discarded
        case (.running, .failed): .running
        case (.waiting, _), (.receiving, _), (.loaded, _), (.building, _), (.prepared, _), (.running, _),
            (.discarded, _):
            nil
        }
    }

    /// The frames that may come now.
    var awaited: Set<FrameKind> {
        switch state {
        case .waiting: [.hello]
        case .receiving: [.memory, .pages, .diskData, .diskZeroes, .roundEnd, .state, .abort]
        case .loaded: [.release, .abort]
        case .building: [.abort]
        case .prepared: [.commit, .abort]
        case .running, .discarded: []
        }
    }

    /// The state in a word.
    package var name: String {
        switch state {
        case .waiting: "waiting"
        case .receiving: "receiving"
        case .loaded: "loaded"
        case .building: "building"
        case .prepared: "prepared"
        case .running: "running"
        case .discarded: "discarded"
        }
    }
}
