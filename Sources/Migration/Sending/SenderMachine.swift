/// What the source of a migration does next: a value, without descriptors, threads or time.
///
///     connecting ─connected→ greeting ─welcomed→ copying(1) ─roundDone→ copying(2) …
///     copying(n) ─paused→ stopped ─ready→ released ─prepared→ committing ─acknowledged→ moved
///
///     before committing: ─failed or refused→ returned (the guest goes on here)
///     committing:        ─refused→ returned   (the destination says that it has dropped the machine for good)
///     committing:        ─failed→  unresolved (nobody runs, until a person says where)
///     unresolved:        ─runHere→ returned, ─discard→ moved
///
/// `committing` begins before the first byte of the commit is sent: from there on the destination may run.
package struct SenderMachine: Equatable, Sendable {
    package enum State: Equatable, Sendable {
        case connecting
        case greeting
        /// The round at hand, from 1.
        case copying(Int)
        /// The guest stands still; its last pages and its state go over.
        case stopped
        /// The disks and interfaces are the destination's to take.
        case released
        /// The commit is on its way, or there.
        case committing
        /// The machine is the destination's.
        case moved
        /// The machine is the source's, as if nothing had been.
        case returned
        /// It is one of the two, and a person has to say which.
        case unresolved
    }

    package enum Event: Equatable, Sendable, CaseIterable {
        case connected, welcomed, roundDone, paused, ready, prepared, acknowledged
        /// The destination has dropped the machine and will never run it.
        case refused
        /// Anything else went wrong.
        case failed
        /// A person's word.
        case runHere, discard
    }

    /// Whose the machine is.
    package enum Owner: String, Equatable, Sendable { case source, unknown, destination }

    package private(set) var state = State.connecting

    package init() {}

    /// Whose the machine is as far as the source can know.
    package var owner: Owner {
        switch state {
        case .connecting, .greeting, .copying, .stopped, .released, .returned: .source
        case .committing, .unresolved: .unknown
        case .moved: .destination
        }
    }

    /// Whether the guest may run here.
    package var mayRun: Bool {
        switch state {
        case .connecting, .greeting, .copying, .returned: true
        case .stopped, .released, .committing, .moved, .unresolved: false
        }
    }

    /// Whether the migration is over.
    package var isOver: Bool {
        switch state {
        case .moved, .returned, .unresolved: true
        case .connecting, .greeting, .copying, .stopped, .released, .committing: false
        }
    }

    /// Whether it can be called off: the machine is still the source's for sure.
    package var canCancel: Bool { owner == .source && !isOver }

    /// Takes an event.
    ///
    /// - Throws: where it cannot happen now; the state stays.
    package mutating func handle(_ event: Event) throws(MigrationError) {
        guard let next = next(event) else {
            throw .violation("\(event) came while the source was \(name)")
        }
        state = next
    }

    private func next(_ event: Event) -> State? {
        switch (state, event) {
        case (.connecting, .connected): .greeting
        case (.greeting, .welcomed): .copying(1)
        case (.copying(let round), .roundDone): .copying(round + 1)
        case (.copying, .paused): .stopped
        case (.stopped, .ready): .released
        case (.released, .prepared): .committing
        case (.committing, .acknowledged): .moved
        case (.connecting, .failed), (.greeting, .failed), (.copying, .failed), (.stopped, .failed),
            (.released, .failed):
            .returned
        case (.connecting, .refused), (.greeting, .refused), (.copying, .refused), (.stopped, .refused),
            (.released, .refused), (.committing, .refused):
            .returned
        case (.committing, .failed): .unresolved
        case (.unresolved, .runHere): .returned
        case (.unresolved, .discard): .moved
        case (.connecting, _), (.greeting, _), (.copying, _), (.stopped, _), (.released, _), (.committing, _),
            (.moved, _), (.returned, _), (.unresolved, _):
            nil
        }
    }

    /// The state in a word.
    package var name: String {
        switch state {
        case .connecting: "connecting"
        case .greeting: "greeting"
        case .copying: "copying"
        case .stopped: "stopped"
        case .released: "released"
        case .committing: "committing"
        case .moved: "moved"
        case .returned: "returned"
        case .unresolved: "unresolved"
        }
    }
}
