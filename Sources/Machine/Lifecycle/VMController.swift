import CLinux
import Host
import KVM
import Legacy
import Synchronization

/// What reaches the control thread.
enum VMMessage: Sendable {
    case command(VMCommand, VMReplyHandler)
    /// The guest of a life asks for something.
    case request(life: Int, GuestRequest)
    /// A vCPU of a life cannot go on.
    case failed(life: Int, vcpu: Int, VCPUFailure)
    /// The guest of a life let go of the device in a slot.
    case ejected(life: Int, slot: UInt8)
    /// Another thread has something done.
    case errand(ControlErrand)
    /// The terminal's user ends the VM.
    case quit
}

/// The way to a VM from any thread: commands to its control thread, and its status.
package final class VMController: Sendable {
    let mailbox: Mailbox<VMMessage>
    /// The VM as it is now.
    package let status = VMStatus()
    /// The VM's migration.
    package let migration = MigrationDesk()

    private let isQuitting = Atomic<Bool>(false)
    /// Whether the control thread has read its last message.
    private let isClosed = Atomic<Bool>(false)
    /// Signals that end the process.
    static let endSignals = [SIGTERM, SIGINT, SIGHUP, SIGQUIT]

    init() throws(HostError) { mailbox = try Mailbox() }

    /// Whether a client or a signal that waits for the control thread wants the process to end; on that thread.
    var isEnding: Bool { isQuitting.load(ordering: .relaxed) || isPending(Self.endSignals) }

    /// The process goes on, though a client wants it to end; on the control thread.
    func stays() { isQuitting.store(false, ordering: .relaxed) }

    /// Has the control thread carry out a command; commands are carried out in the order in which they are sent.
    package func send(_ command: VMCommand, reply: @escaping VMReplyHandler = { _ in }) {
        if case .quit = command { isQuitting.store(true, ordering: .relaxed) }
        mailbox.send(.command(command, reply))
        // Either this one sees that it is closed, or whoever closes it sees the message.
        if isClosed.load(ordering: .sequentiallyConsistent) { refuseAll(mailbox.receive()) }
    }

    /// Has the control thread do something.
    func send(_ errand: ControlErrand) {
        mailbox.send(.errand(errand))
        if isClosed.load(ordering: .sequentiallyConsistent) { refuseAll(mailbox.receive()) }
    }

    /// Ends the VM and the process, as when the guest powers off.
    func end() { mailbox.send(.quit) }

    /// Refuses what is still to be carried out, and from now on whatever comes.
    func close(_ unread: some Sequence<VMMessage>) {
        isClosed.store(true, ordering: .sequentiallyConsistent)
        refuseAll(unread)
        refuseAll(mailbox.receive())
    }

    private func refuseAll(_ messages: some Sequence<VMMessage>) {
        for message in messages {
            if case .errand(let errand) = message { errand.refuse() }
            guard case .command(let command, let reply) = message else { continue }
            if case .quit = command { reply(.success(.done)) } else { reply(.failure(.isEnding)) }
        }
    }
}
