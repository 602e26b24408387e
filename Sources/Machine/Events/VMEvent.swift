import Spec

/// What can happen, by source and name: the events that Cloud Hypervisor's clients know.
///
/// The raw value is `source.name`; names have no dots.
package enum VMEvent: String, CaseIterable, Sendable {
    case vmmStarting = "vmm.starting"
    case vmmShutdown = "vmm.shutdown"
    case booting = "vm.booting"
    case booted = "vm.booted"
    case pausing = "vm.pausing"
    case paused = "vm.paused"
    case resuming = "vm.resuming"
    case resumed = "vm.resumed"
    case shutdown = "vm.shutdown"
    case rebooting = "vm.rebooting"
    case rebooted = "vm.rebooted"
    case deleted = "vm.deleted"
    case resizing = "vm.resizing"
    case resized = "vm.resized"
    case snapshotting = "vm.snapshotting"
    case snapshotted = "vm.snapshotted"
    case restoring = "vm.restoring"
    case restored = "vm.restored"
    case coredumping = "vm.coredumping"
    /// Properties: `id`, `bdf`.
    case deviceRemoved = "vm.device-removed"
    case migrationStarted = "vm.migration-started"
    case migrationFinished = "vm.migration-finished"
    case migrationFailed = "vm.migration-failed"
    /// Properties: `id`, the number of the round.
    case migrationMemoryIteration = "vm.migration-memory-iteration"
    case migrationReceiveReady = "vm.migration-receive-ready"
    case migrationReceiveStarted = "vm.migration-receive-started"
    case migrationReceiveFinished = "vm.migration-receive-finished"
    case migrationReceiveFailed = "vm.migration-receive-failed"
    case postcopyMigrationCompleted = "vm.postcopy-migration-completed"
    /// Properties: `id`.
    case deviceActivated = "virtio-device.activated"
    /// Properties: `id`.
    case deviceReset = "virtio-device.reset"
    /// Properties: `event`.
    case guestPanic = "guest.panic"

    /// Who it happened to: `vmm`, `vm`, `virtio-device`, `guest`.
    package var source: String { String(rawValue.prefix { $0 != "." }) }
    /// What happened: `booted`.
    package var name: String { String(rawValue.drop { $0 != "." }.dropFirst()) }
}

/// An event as it happened.
package struct EventRecord: Equatable, Sendable {
    /// Its place in the order of all events of the process, from 1 up.
    package let number: UInt64
    /// ns since the monitor's start, which is the process's.
    package let time: UInt64
    /// Who it happened to, and what happened.
    package let source: String, event: String
    /// Details; empty for none.
    package let properties: [String: String]

    package init(
        number: UInt64, time: UInt64, source: String, event: String, properties: [String: String] = [:]
    ) {
        (self.number, self.time, self.source) = (number, time, source)
        (self.event, self.properties) = (event, properties)
    }

    /// The object that clients read; the properties in the order of their keys.
    package var json: JSONValue {
        .members([
            (
                "timestamp",
                .members([
                    ("secs", .integer(time / 1_000_000_000)), ("nanos", .integer(time % 1_000_000_000)),
                ])
            ),
            ("source", .string(source)), ("event", .string(event)),
            (
                "properties",
                properties.isEmpty
                    ? .null
                    : .members(properties.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })
            ),
        ])
    }
}
