/// What the destination of a migration does next: a value, without descriptors, threads or time.
///
///     waiting ─accepted→ receiving(1) ─roundEnd→ receiving(2) … ─stateCame→ loaded
///     loaded ─released→ building ─built→ prepared ─committed→ running
///
///     before running: ─failed→ discarded (nothing of the machine is left, and no commit is heard any more)
///     running:        ─failed→ running   (it is the destination's, whatever becomes of the connection)
///
/// In a postcopy migration the memory comes afterwards:
///
///     receiving(1) ─mapCame→ mapped ─stateCame→ loaded … prepared ─committed→ filling ─filled→ running
///     filling ─failed→ cutOff ─rejoined→ filling
///     cutOff ─timeUp→ starved (the guest stands still until its pages come) ─rejoined→ filling
///     cutOff, starved: ─filled→ running (the last pages came before)
///     filling, cutOff, starved: ─ended→ ended (the guest is over, and needs no memory any more)
package struct ReceiverMachine: Equatable, Sendable {
    package enum State: Equatable, Sendable {
        case waiting
        /// The round at hand, from 1.
        case receiving(Int)
        /// It is known which pages will come, when they are asked for and in the background.
        case mapped
        /// Memory and state are here.
        case loaded
        /// The source has let go of the disks and interfaces.
        case building
        /// The machine stands here as it was, still.
        case prepared
        /// The machine is the destination's.
        case running
        /// The machine is the destination's, and pages of its memory are still at the source.
        case filling
        /// So they are, and the connection is gone.
        case cutOff
        /// And the time that the source had to come back is over.
        case starved
        /// The machine ended here before all of its memory was.
        case ended
        /// Nothing of it is here.
        case discarded
    }

    package enum Event: Equatable, Sendable, CaseIterable {
        case accepted, roundEnd, stateCame, released, built, committed, failed
        case mapCame, filled, rejoined, timeUp, ended
    }

    package private(set) var state = State.waiting
    /// Whether the memory comes after the machine.
    package private(set) var isPostcopy = false

    package init() {}

    /// Whether the guest may run here.
    package var mayRun: Bool {
        switch state {
        case .running, .filling, .cutOff: true
        case .waiting, .receiving, .mapped, .loaded, .building, .prepared, .starved, .ended, .discarded: false
        }
    }

    /// Whether the machine is the destination's.
    package var isCommitted: Bool {
        switch state {
        case .running, .filling, .cutOff, .starved, .ended: true
        case .waiting, .receiving, .mapped, .loaded, .building, .prepared, .discarded: false
        }
    }

    /// Whether nothing more is to happen.
    package var isOver: Bool { state == .running || state == .ended || state == .discarded }

    /// Takes an event.
    ///
    /// - Throws: where it cannot happen now; the state stays.
    package mutating func handle(_ event: Event) throws(MigrationError) {
        guard let next = next(event) else {
            throw .violation("\(event) came while the destination was \(name)")
        }
        if event == .mapCame { isPostcopy = true }
        state = next
    }

    private func next(_ event: Event) -> State? {
        switch (state, event) {
        case (.waiting, .accepted): .receiving(1)
        case (.receiving(let round), .roundEnd): .receiving(round + 1)
        case (.receiving, .stateCame): .loaded
        case (.loaded, .released): .building
        case (.building, .built): .prepared
        case (.prepared, .committed): isPostcopy ? .filling : .running
        case (.waiting, .failed), (.receiving, .failed), (.mapped, .failed), (.loaded, .failed), (.building, .failed),
            (.prepared, .failed):
            .discarded
        case (.running, .failed): .running
        case (.receiving(1), .mapCame): .mapped
        case (.mapped, .stateCame): .loaded
        case (.filling, .failed), (.cutOff, .failed): .cutOff
        case (.starved, .failed): .starved
        // The last pages may have come before it is seen that the connection is gone.
        case (.filling, .filled), (.cutOff, .filled), (.starved, .filled): .running
        // A source that has lost the connection may come back before that is seen here.
        case (.filling, .rejoined), (.cutOff, .rejoined), (.starved, .rejoined): .filling
        case (.cutOff, .timeUp): .starved
        case (.filling, .ended), (.cutOff, .ended), (.starved, .ended): .ended
        case (.waiting, _), (.receiving, _), (.mapped, _), (.loaded, _), (.building, _), (.prepared, _), (.running, _),
            (.filling, _), (.cutOff, _), (.starved, _), (.ended, _), (.discarded, _):
            nil
        }
    }

    /// The frames that may come now.
    var awaited: Set<FrameKind> {
        switch state {
        case .waiting: [.hello]
        case .receiving:
            [.memory, .outline, .pages, .diskData, .diskZeroes, .roundEnd, .map, .state, .abort, .breath]
        case .mapped: [.state, .abort]
        case .loaded: [.release, .abort]
        case .building: [.abort]
        case .prepared: [.commit, .abort]
        // Pages of a postcopy migration are taken beside these.
        case .filling, .cutOff, .starved, .ended: []
        case .running: isPostcopy ? [.farewell] : []
        case .discarded: []
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
        case .mapped: "mapped"
        case .filling: "postcopy"
        case .cutOff: "reconnecting"
        case .starved: "starved"
        case .ended: "ended"
        case .discarded: "discarded"
        }
    }
}
