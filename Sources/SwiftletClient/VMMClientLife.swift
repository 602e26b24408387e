// The VM's life.

extension VMMClient {
    /// Configures the VM; `boot` starts it.
    ///
    /// - Parameter config: a `VmConfig` as JSON text: what `swiftlet run` takes.
    public func create(json config: [UInt8]) async throws(VMMClientError) {
        _ = try await request("PUT", "vm.create", body: config, timeout: timeout)
    }

    /// Configures the VM; `boot` starts it.
    ///
    /// - Parameter config: a `VmConfig`: a ``JSON`` literal, or a type of the caller's.
    public func create(_ config: some Encodable) async throws(VMMClientError) {
        try await act("vm.create", config, timeout: timeout)
    }

    /// Configures the VM; `boot` starts it.
    ///
    /// - Parameter config: a `VmConfig`.
    public func create(_ config: JSON) async throws(VMMClientError) {
        try await act("vm.create", config, timeout: timeout)
    }

    /// The VM's state, configuration and devices.
    public func info() async throws(VMMClientError) -> VMInfo {
        var (info, raw) = try await get(VMInfo.self, "vm.info")
        info.raw = raw
        return info
    }

    /// Counters of the VM's devices.
    public func counters() async throws(VMMClientError) -> VMCounters {
        try await get(VMCounters.self, "vm.counters").0
    }

    /// Starts the VM.
    public func boot() async throws(VMMClientError) { try await act("vm.boot") }
    /// Ends the VM and keeps its configuration.
    public func shutdown() async throws(VMMClientError) { try await act("vm.shutdown") }
    /// Ends the VM and forgets its configuration.
    public func delete() async throws(VMMClientError) { try await act("vm.delete") }
    /// Starts the VM anew.
    public func reboot() async throws(VMMClientError) { try await act("vm.reboot") }
    /// Lets the vCPUs and the guest's clock stand still.
    public func pause() async throws(VMMClientError) { try await act("vm.pause") }
    /// Lets a paused VM go on.
    public func resume() async throws(VMMClientError) { try await act("vm.resume") }
    /// Presses the guest's power button.
    public func powerButton() async throws(VMMClientError) { try await act("vm.power-button") }
    /// Sends every vCPU a non-maskable interrupt.
    public func nmi() async throws(VMMClientError) { try await act("vm.nmi") }

    /// Writes the guest's memory and registers as an ELF core.
    ///
    /// - Parameters:
    ///   - url: `file:///path`.
    ///   - timeout: how long it may take; nil for ever.
    public func coredump(to url: String, timeout: Duration? = nil) async throws(VMMClientError) {
        try await act("vm.coredump", ["destination_url": url], timeout: timeout)
    }

    /// Saves a paused VM.
    ///
    /// - Parameters:
    ///   - url: `file:///directory`.
    ///   - kind: how much of the memory the snapshot has; nil for all of it, with no diff to follow.
    ///   - timeout: how long it may take; nil for ever.
    public func snapshot(
        to url: String, kind: SnapshotKind? = nil, timeout: Duration? = nil
    ) async throws(VMMClientError) {
        var body = ["destination_url": url]
        body["type"] = kind?.rawValue
        try await act("vm.snapshot", body, timeout: timeout)
    }

    /// Restores a VM from a snapshot; it is paused then unless the configuration has `resume`.
    ///
    /// - Parameters:
    ///   - config: `source_url`, `prefault`, `resume`, `net_fds`, …
    ///   - descriptors: the queues' tap descriptors, in the order of `net_fds`; they stay the caller's to close.
    ///   - timeout: how long it may take; nil for ever.
    public func restore(
        _ config: JSON, descriptors: [Int32] = [], timeout: Duration? = nil
    ) async throws(VMMClientError) {
        try await act("vm.restore", config, descriptors: descriptors, timeout: timeout)
    }

    /// Makes VMs of the one that runs, each paused and in a process of its own.
    ///
    /// - Parameters:
    ///   - config: `children`, a list of objects with `api_socket`, `overrides`, …; `resume`, `directory_url`.
    ///   - timeout: how long it may take; nil for ever.
    /// - Returns: the children, in the order of the list.
    @discardableResult
    public func fork(_ config: JSON, timeout: Duration? = nil) async throws(VMMClientError) -> [ForkedVM] {
        let reply = try await act("vm.fork", config, timeout: timeout)
        return try BlockingCall.decode(
            ForkedVMs.self, reply.body, operation: "PUT /api/v1/vm.fork", socketPath: socketPath
        ).children
    }

    /// Moves the VM to another VMM; the call ends when the migration is over.
    ///
    /// - Parameters:
    ///   - url: where that VMM waits: `tcp:host:port` or `unix:/path`.
    ///   - options: further fields of the request: `local`, `downtime_ms`, …
    ///   - timeout: how long it may take; nil for ever.
    public func sendMigration(
        to url: String, options: [String: JSON] = [:], timeout: Duration? = nil
    ) async throws(VMMClientError) {
        let fields = options.merging(["destination_url": .string(url)]) { _, url in url }
        try await act("vm.send-migration", JSON.object(fields), timeout: timeout)
    }

    /// Waits for a VM from another VMM; the call ends when it has arrived.
    ///
    /// - Parameters:
    ///   - url: where to wait: `tcp:host:port` or `unix:/path`.
    ///   - options: further fields of the request.
    ///   - timeout: how long it may take; nil for ever.
    public func receiveMigration(
        at url: String, options: [String: JSON] = [:], timeout: Duration? = nil
    ) async throws(VMMClientError) {
        let fields = options.merging(["receiver_url": .string(url)]) { _, url in url }
        try await act("vm.receive-migration", JSON.object(fields), timeout: timeout)
    }
}

/// How much of the guest's memory a snapshot has.
public enum SnapshotKind: String, Sendable {
    /// All of it; what is written from then on is noted for a diff.
    case full = "Full"
    /// What was written since the last snapshot with a kind, which it names as its parent.
    case diff = "Diff"
}
