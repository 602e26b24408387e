import Host
import Snapshot
import Spec
import VirtioNet

/// A VM from creation to deletion: its configuration, its consoles, and while the guest is on, its machine.
///
/// It belongs to the control thread.
final class CreatedVM {
    /// With all ids and addresses chosen.
    var config: VMConfig
    /// Gives out the ids of devices that come later.
    var names: DeviceNames
    /// What the configuration plans: what the next boot makes. `backends` know the machine of a guest that is on, whose
    /// devices keep their slots.
    var plan: MachinePlan
    /// Open as long as the VM exists.
    let lines: ConsoleBackends
    /// The host's resources; nil while the guest is off.
    var backends: Backends?
    /// The guest's life at hand; nil while it is off.
    var instance: MachineInstance?
    /// What goes on beside a guest whose memory comes on demand; nil for others.
    var paging: (any GuestPaging)?
    /// What the guest was restored from, as long as its memory may come from there; nil for others.
    var snapshot: SnapshotFiles?
    /// Tap queues that clients sent, by the id of their interface.
    var taps: [String: AdoptedTaps] = [:]
    /// Whether the guest stands still.
    var isPaused = false

    init(_ config: VMConfig, _ names: DeviceNames, _ plan: MachinePlan, _ lines: ConsoleBackends) {
        (self.config, self.names, self.plan, self.lines) = (config, names, plan, lines)
    }
}
