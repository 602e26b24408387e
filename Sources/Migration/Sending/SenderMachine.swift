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
/// In a postcopy migration the memory follows the machine:
///
///     committing:       ─acknowledged→ serving, ─failed→ reconnecting(not acknowledged)
///     serving:          ─complete→ moved,       ─failed→ reconnecting(acknowledged)
///     reconnecting(…):  ─rejoined→ serving,     ─complete→ moved
///     reconnecting(not acknowledged): ─timeUp→ unresolved (which ─reconnect→ leads back from)
///     reconnecting(acknowledged):     ─timeUp→ stranded: ─reconnect→ reconnecting(acknowledged), ─discard→ moved
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
        /// The machine is the destination's, which gets the pages that it still needs.
        case serving
        /// The connection was lost while the destination needs pages: is being sought again. Whether the destination has
        /// acknowledged the commit.
        case reconnecting(isAcknowledged: Bool)
        /// It was not found in time: the machine is the destination's, and pages that it needs are here.
        case stranded
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
        /// The destination has been found again, or has all that it needs.
        case rejoined, complete
        /// It was not in time.
        case timeUp
        /// A person's word: it is to be sought again.
        case reconnect
    }

    /// Whose the machine is.
    package enum Owner: String, Equatable, Sendable { case source, unknown, destination }

    package private(set) var state: State
    /// Whether the memory follows the machine.
    package let isPostcopy: Bool

    package init(isPostcopy: Bool = false) { (state, self.isPostcopy) = (.connecting, isPostcopy) }

    /// One that seeks its destination again, as a person has said.
    package init(reconnecting isAcknowledged: Bool) {
        (state, isPostcopy) = (.reconnecting(isAcknowledged: isAcknowledged), true)
    }

    /// Whose the machine is as far as the source can know.
    package var owner: Owner {
        switch state {
        case .connecting, .greeting, .copying, .stopped, .released, .returned: .source
        case .committing, .unresolved, .reconnecting(isAcknowledged: false): .unknown
        case .moved, .serving, .stranded, .reconnecting(isAcknowledged: true): .destination
        }
    }

    /// Whether the guest may run here.
    package var mayRun: Bool {
        switch state {
        case .connecting, .greeting, .copying, .returned: true
        case .stopped, .released, .committing, .serving, .reconnecting, .stranded, .moved, .unresolved: false
        }
    }

    /// Whether the migration is over.
    package var isOver: Bool {
        switch state {
        case .moved, .returned, .unresolved, .stranded: true
        case .connecting, .greeting, .copying, .stopped, .released, .committing, .serving, .reconnecting: false
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
        case (.committing, .acknowledged): isPostcopy ? .serving : .moved
        case (.connecting, .failed), (.greeting, .failed), (.copying, .failed), (.stopped, .failed),
            (.released, .failed):
            .returned
        case (.connecting, .refused), (.greeting, .refused), (.copying, .refused), (.stopped, .refused),
            (.released, .refused), (.committing, .refused):
            .returned
        case (.committing, .failed): isPostcopy ? .reconnecting(isAcknowledged: false) : .unresolved
        case (.unresolved, .runHere): .returned
        case (.unresolved, .discard), (.stranded, .discard): .moved
        case (.serving, .complete), (.reconnecting, .complete): .moved
        case (.serving, .failed): .reconnecting(isAcknowledged: true)
        case (.reconnecting(let isAcknowledged), .failed): .reconnecting(isAcknowledged: isAcknowledged)
        case (.reconnecting, .rejoined): .serving
        case (.reconnecting(isAcknowledged: true), .timeUp): .stranded
        case (.reconnecting(isAcknowledged: false), .timeUp): .unresolved
        case (.stranded, .reconnect): .reconnecting(isAcknowledged: true)
        case (.unresolved, .reconnect): isPostcopy ? .reconnecting(isAcknowledged: false) : nil
        case (.connecting, _), (.greeting, _), (.copying, _), (.stopped, _), (.released, _), (.committing, _),
            (.serving, _), (.reconnecting, _), (.stranded, _), (.moved, _), (.returned, _), (.unresolved, _):
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
        case .serving: "postcopy"
        case .reconnecting: "reconnecting"
        case .stranded: "stranded"
        case .moved: "moved"
        case .returned: "returned"
        case .unresolved: "unresolved"
        }
    }
}
