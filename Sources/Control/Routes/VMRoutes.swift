import Machine
import Spec

extension Route {
    /// The VM's life.
    static let vm: [Route] = [
        .command("vm.create") { request, _ throws(SpecError) in
            try VMConfig.parse(request.body, mode: .lenient)
        } _: { parsed, _ in
            .create(parsed)
        },
        .action("vm.boot", .boot), .action("vm.delete", .delete), .action("vm.shutdown", .shutdown),
        .action("vm.reboot", .reboot), .action("vm.pause", .pause), .action("vm.resume", .resume),
        .action("vm.power-button", .powerButton), .action("vm.nmi", .nmi),
        .command("vm.coredump") { request, _ throws(SpecError) in
            try CoredumpRequest.parse(request.body)
        } _: { parsed, _ in
            .coredump(path: parsed.config.path)
        },
        .command("vm.snapshot") { request, _ throws(SpecError) in
            try SnapshotRequest.parse(request.body)
        } _: { parsed, _ in
            .snapshot(parsed.config)
        },
        .command("vm.restore") { request, _ throws(SpecError) in
            try RestoreRequest.parse(request.body)
        } _: { parsed, request in
            .restore(parsed.config, request.descriptors)
        },
        .command("vm.fork") { request, _ throws(SpecError) in
            try ForkRequest.parse(request.body)
        } _: { parsed, _ in
            .fork(parsed.config)
        },
        .get("vm.info") { context in
            guard let info = context.vm.status.info else {
                return .failure(VMError.notCreated.during("The VM info is not available"))
            }
            // A machine that is on its way, or of which nobody knows where it is, says so.
            let migration = context.vm.migration.told.flatMap { $0.isOver ? nil : $0.json }
            return .json(info.json(migration))
        },
    ]
}

extension VMInfo {
    /// The reply of `vm.info`.
    ///
    /// - Parameter migration: the one that is not over; nil where there is none.
    func json(_ migration: JSONValue? = nil) -> JSONValue {
        var tree = JSONObject()
        for device in devices {
            // As Cloud Hypervisor has it: the function on the bus, and the virtio device behind it.
            let function = "_virtio-pci-\(device.id)"
            tree[function] = .members([
                ("id", .string(function)), ("resources", .array([])), ("children", .array([.string(device.id)])),
                ("pci_bdf", .string(device.bdf)),
            ])
            tree[device.id] = .members([
                ("id", .string(device.id)), ("resources", .array([])), ("parent", .string(function)),
                ("children", .array([])), ("pci_bdf", .string(device.bdf)), ("kind", .string(device.kind)),
                ("pending_removal", pendingRemovals.contains(device.id) ? .bool(true) : nil),
            ])
        }
        return .members([
            ("config", config.json), ("state", .string(state.rawValue)), ("memory_actual_size", .integer(memorySize)),
            ("device_tree", devices.isEmpty ? nil : .object(tree)), ("migration", migration),
        ])
    }
}
