import Snapshot
import Spec
import Synchronization

/// What anybody may know of the VM at any time, from any thread, whatever the control thread is busy with.
package final class VMStatus: Sendable {
    /// The states that clients know (Cloud Hypervisor's VmState).
    package enum State: String, CaseIterable, Sendable {
        case created = "Created"
        case running = "Running"
        case paused = "Paused"
    }

    struct Content: Sendable {
        var config: VMConfig?
        var state = State.created
        /// The machine's plan as it is now; nil before the VM is created.
        var plan: MachinePlan?
        /// The guest's life at hand; nil while it is off.
        var instance: MachineInstance?
        /// The guest's character devices.
        var lines: ConsoleBackends?
        /// What goes on beside a guest whose memory comes on demand.
        var paging: (any GuestPaging)?
    }

    private let content = Mutex(Content())

    /// Shows the VM otherwise. Who reads it as it was has finished when this returns, so that what the VM lets go of is
    /// then let go: an image's lock, a tap, a socket.
    func update(_ body: (inout Content) -> Void) {
        let before = content.withLock { content in
            let before = content
            body(&content)
            return before
        }
        // Taking a machine apart takes longer than any reader should wait.
        _ = consume before
    }

    /// Reads the VM; the control thread waits meanwhile, so nothing here waits for anything.
    func read<Result: Sendable>(_ body: (Content) -> Result) -> Result { content.withLock { body($0) } }

    /// The VM's state; nil while there is none.
    package var state: State? { content.withLock { $0.config == nil ? nil : $0.state } }

    /// The guest's character devices; nil while there is no VM.
    package var consoles: ConsoleBackends? { read(\.lines) }

    /// The VM as `vm.info` tells it; nil while there is none.
    package var info: VMInfo? { read { VMInfo($0) } }
}

/// What `vm.info` tells.
package struct VMInfo: Sendable {
    /// The configuration with the ids and addresses that were chosen, and the pseudo-terminals' paths.
    package let config: VMConfig
    /// The state.
    package let state: VMStatus.State
    /// The guest's RAM in bytes.
    package let memorySize: UInt64
    /// The devices on the PCI bus, those that are to leave among them: id, kind and place.
    package let devices: [(id: String, kind: String, bdf: String)]
    /// The ids of the devices that the guest was asked to let go and that it holds on to.
    package let pendingRemovals: [String]

    init?(_ content: VMStatus.Content) {
        guard var config = content.config else { return nil }
        if let path = content.lines?.terminals["serial"] { config.serial.file = path }
        if let path = content.lines?.terminals["console"] { config.console.file = path }
        if let path = content.lines?.terminals["debug_console"] { config.debugConsole.file = path }
        self.config = config
        state = content.state
        memorySize = config.memory.size
        pendingRemovals = content.instance?.pendingRemovals ?? []
        devices = (content.instance == nil ? [] : content.plan?.devices ?? []).map {
            ($0.id, $0.kind.name, "\($0.address)")
        }
    }
}
