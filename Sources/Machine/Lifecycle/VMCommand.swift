import Host
import Spec

/// What a client asks of the VM. The control thread carries commands out one after the other.
package enum VMCommand: Sendable {
    /// Takes a configuration; nothing runs yet.
    case create(ParsedConfig)
    /// Starts the guest.
    case boot
    /// Ends the guest; the configuration stays.
    case shutdown
    /// Ends the guest if it runs and forgets the configuration.
    case delete
    /// Starts the guest again, from its payload.
    case reboot
    /// Stops the vCPUs and the device workers between two steps.
    case pause
    /// Lets them go on.
    case resume
    /// Presses the power button.
    case powerButton
    /// Raises a non-maskable interrupt in every vCPU.
    case nmi
    /// Writes the guest's memory and registers into a new ELF core file; a guest that runs stands still meanwhile.
    case coredump(path: String)
    /// Writes all of the VM, which stands still, into a new directory.
    case snapshot(SnapshotRequest)
    /// Makes a VM of a snapshot, with the tap queues that came with the request.
    case restore(RestoreRequest, ReceivedDescriptors)
    /// Makes VMs of the one that runs, each in a process of its own.
    case fork(ForkRequest)
    /// Adds a disk: to the configuration, and to a guest that runs.
    case addDisk(Parsed<DiskConfig>)
    /// Adds a network interface, over the tap queues that came with the request if any did.
    case addNet(Parsed<NetConfig>, ReceivedDescriptors)
    /// Adds the vsock device.
    case addVsock(Parsed<VsockConfig>)
    /// Takes a device away: from the configuration, and from a guest that runs as soon as that lets go.
    case removeDevice(id: String)
    /// Changes a disk's size in bytes.
    case resizeDisk(id: String, size: UInt64)
    /// Starts to log what the guest writes to its memory, or takes what was logged since the last time; or stops.
    case measureDirtying(Bool)
    /// Moves the VM to another process; the reply comes when that is over.
    case sendMigration(SendMigrationRequest)
    /// Asks the destination whether it would take the VM.
    case checkMigration(SendMigrationRequest)
    /// Waits for a VM from another process, with the tap queues that came with the request.
    case receiveMigration(ReceiveMigrationRequest, ReceivedDescriptors)
    /// Decides where a VM goes on of which nobody knows.
    case resolveMigration(ResolveMigrationRequest)
    /// Ends the VM and the process.
    case quit

    /// The command's name for the log: that of its case.
    var name: Substring {
        let text = "\(self)"
        return text.prefix { $0 != "(" }
    }

    /// What could not be done, in words, for errors.
    package var words: String {
        switch self {
        case .create: "The VM could not be created"
        case .boot: "The VM could not boot"
        case .shutdown: "The VM could not be shut down"
        case .delete: "The VM could not be deleted"
        case .reboot: "The VM could not reboot"
        case .pause: "The VM could not be paused"
        case .resume: "The VM could not resume"
        case .powerButton: "The power button could not be pressed"
        case .nmi: "The NMI could not be raised"
        case .coredump: "The core file could not be written"
        case .snapshot: "The snapshot could not be taken"
        case .restore: "The VM could not be restored"
        case .fork: "The VM could not be forked"
        case .addDisk: "The disk could not be added to the VM"
        case .addNet: "The network interface could not be added to the VM"
        case .addVsock: "The vsock device could not be added to the VM"
        case .removeDevice: "The device could not be removed from the VM"
        case .resizeDisk: "The disk could not be resized"
        case .measureDirtying: "The guest's writes to its memory could not be measured"
        case .sendMigration: "The VM could not be moved"
        case .checkMigration: "The destination could not be asked"
        case .receiveMigration: "No VM could be received"
        case .resolveMigration: "The migration could not be resolved"
        case .quit: "The VMM could not shut down"
        }
    }
}

/// What a command came to.
package enum VMReply: Equatable, Sendable {
    /// It is done, and there is nothing to tell.
    case done
    /// A device was added to the running guest.
    case device(id: String, bdf: String)
    /// VMs were made, in the order of the request.
    case forked([ForkedVM])
    /// Every reason why it would not work; none if it would.
    case reasons([String])
}

/// Hears what a command came to, on the control thread; must not block.
package typealias VMReplyHandler = @Sendable (Result<VMReply, VMError>) -> Void
