import Host
import Migration
import Snapshot
import Spec
import Synchronization

/// What a person decides on a machine whose memory was to follow it and cannot.
extension VMM {
    /// Seeks the destination again and gives it what it lacks; tells how far it is by `vm.migration`.
    func seekDestination(_ machine: LeavingMachine) throws(VMError) {
        guard let last = controller.migration.report, var seeking = controller.migration.seeking else {
            throw VMError(
                .failed, ["only the destination of a migration with memory_mode Postcopy can be sought again"])
        }
        seeking.isPostcopy = true
        let options = seeking
        let isAcknowledged = last.owner == "destination"
        var report = MigrationReport(.source, token: machine.token, peer: last.peer, state: "reconnecting")
        (report.owner, report.isPostcopy) = (last.owner, true)
        (report.totalBytes, report.remainingBytes, report.downtime) = (
            last.totalBytes, last.remainingBytes, last.downtime
        )
        let (controller, emit) = (controller, self.options.emit)
        let farewell = SourceFarewell(self, machine)
        try controller.migration.begin(report) { progress, stop in
            emit(.migrationStarted, ["token": machine.token])
            let sender = MigrationSender(
                reconnecting: options, machine, progress, stop, isAcknowledged: isAcknowledged, token: machine.token)
            let outcome = sender.goOnServing()
            if case .moved = outcome { controller.migration.hold(nil) }
            controller.migration.finish()
            switch outcome {
            case .moved:
                farewell.moved(progress.now)
                farewell.endProcess()
            case .stranded(let error), .unresolved(let error), .returned(let error, _):
                farewell.waits(MigrationReport.stranded(error, token: machine.token))
            }
        }
    }

    /// Carries out what a person decided on a machine that is here without all of its memory.
    ///
    /// - Returns: whether it is one.
    func resolveArrival(_ request: ResolveMigrationRequest) throws(VMError) -> Bool {
        guard let report = controller.migration.report, report.role == .destination, report.isPostcopy,
            report.owner == "destination", !report.isOver, report.token == request.token
        else { return false }
        guard request.action == .discard else {
            throw VMError(
                .failed,
                [
                    "the guest is here, and a part of its memory is at its source, which is to come back: decide there to "
                        + "reconnect, or discard it here for good"
                ])
        }
        guard report.state != "postcopy" else {
            throw VMError(.failed, ["the guest's memory is coming; its source is there"])
        }
        logger.notice("the guest is dropped, as was decided", metadata: ["token": "\(report.token)"])
        delete()
        emit(.deleted)
        return true
    }
}

extension MigrationReport {
    /// Why nothing can be done with the VM now, where its memory follows it; nil where that is not so.
    var postcopyObstacle: String? {
        guard isPostcopy, owner == "destination", !isOver else { return nil }
        if role == .destination {
            return
                "the guest's memory is on its way, and \(remainingBytes >> 10) KiB are still at its source (\(state)); "
                + "GET vm.migration tells when they are here"
        }
        guard state == "stranded" else {
            return
                "the guest is at its destination, which still needs \(remainingBytes >> 10) KiB of its memory (\(state))"
        }
        return
            "the guest is at its destination, which cannot be reached and lacks \(remainingBytes >> 10) KiB of its memory "
            + "that are here: have it sought again with vm.migration.resolve, reconnect, or drop them with discard"
    }

    /// The state of a machine that came back and cannot have its disks or sockets.
    static let stuck = "stuck"

    /// What a person has to decide before anything is done with the VM; nil where there is nothing.
    var decision: String? {
        guard role == .source else { return nil }
        if state == Self.stuck {
            return
                "the VM did not move, and stands still since it could not have its disks, interfaces or sockets again: "
                + "vm.migration.resolve of token \(token) with run-here tries again (swiftlet ctl migration-resolve)"
        }
        guard state == "unresolved" else { return nil }
        return
            "a migration ended without the destination's answer, and one of the two has the machine: look whether it runs "
            + "there, end a process there that does not answer, then decide with vm.migration.resolve of token \(token) "
            + "(swiftlet ctl migration-resolve)"
    }

    /// Why the process is not to end now: the guest at the destination would lose the memory that is still here; nil where
    /// nothing would be lost.
    var reasonToStay: String? {
        if let decision { return decision + "; a second SIGTERM ends this process, and with it what is here" }
        guard role == .source, let words = postcopyObstacle else { return nil }
        if state == "stranded" { return words }
        return words
            + "; wait until GET vm.migration says that it has moved, or lose the guest by ending this process with a second "
            + "SIGTERM"
    }

    /// What is said of a source that has lost its destination.
    static func stranded(_ error: MigrationError, token: String) -> [String] {
        [
            "the guest is at its destination, which lacks pages of its memory and cannot be reached: \(error)",
            "those pages are kept here: vm.migration.resolve of token \(token) with reconnect seeks the destination again, "
                + "with discard drops them, and with them the guest, if it still needs them",
        ]
    }

    /// Why a guest that has run elsewhere does not run here.
    static var refusedRun: VMError {
        VMError(
            .failed,
            [
                "the guest has run at its destination since, and written its disks there: what is here is its past; have the "
                    + "destination sought again (reconnect), or drop it (discard)"
            ])
    }
}

/// A reply that is given once, however often it is tried.
final class OneReply: Sendable {
    private let handler: Mutex<VMReplyHandler?>

    init(_ handler: @escaping VMReplyHandler) { self.handler = Mutex(handler) }

    func callAsFunction(_ result: Result<VMReply, VMError>) {
        let handler = handler.withLock { handler in
            defer { handler = nil }
            return handler
        }
        handler?(result)
    }
}
