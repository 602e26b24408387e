import Machine
import Migration
import Spec

extension Route {
    /// Moving the VM.
    static let migration: [Route] = [
        .command("vm.send-migration") { request, _ throws(SpecError) in
            try SendMigrationRequest.parse(request.body)
        } _: { parsed, _ in
            .sendMigration(parsed.config)
        },
        .command("vm.receive-migration") { request, _ throws(SpecError) in
            try ReceiveMigrationRequest.parse(request.body)
        } _: { parsed, request in
            .receiveMigration(parsed.config, request.descriptors)
        },
        .command("vm.migration.check") { request, _ throws(SpecError) in
            try SendMigrationRequest.parse(request.body)
        } _: { parsed, _ in
            .checkMigration(parsed.config)
        },
        .command("vm.migration.resolve") { request, _ throws(SpecError) in
            try ResolveMigrationRequest.parse(request.body)
        } _: { parsed, _ in
            .resolveMigration(parsed.config)
        },
        // Not by the control thread, which may have to wait for what is called off.
        Route(name: "vm.migration.cancel", method: .put, body: .none) { _, context, reply in
            do throws(VMError) {
                try context.vm.migration.cancel()
                reply(.done)
            } catch {
                reply(.failure(error.during("The migration could not be cancelled")))
            }
        },
        .get("vm.migration") { context in
            guard let report = context.vm.migration.told else {
                return .failure(VMError(.notFound, ["There was no migration of this VM"]))
            }
            return .json(report.json)
        },
    ]
}

extension MigrationReport {
    /// The reply of `vm.migration`.
    var json: JSONValue {
        .members([
            ("role", .string(role.rawValue)), ("state", .string(state)), ("owner", .string(owner)),
            ("token", token.isEmpty ? nil : .string(token)), ("peer", .string(peer)), ("over", .bool(isOver)),
            ("memory_mode", .string(isPostcopy ? "Postcopy" : "Precopy")),
            ("compression", .string(isCompressed ? "Zstd" : "None")),
            ("error", problem.map { .string($0) }), ("round", .integer(round)),
            ("memory_bytes", .integer(totalBytes)), ("sent_bytes", .integer(bytes)), ("sent_pages", .integer(pages)),
            ("zero_pages", .integer(zeroPages)), ("remaining_bytes", .integer(remainingBytes)),
            ("disk_bytes", disks.map { .integer($0.total) }), ("disk_sent_bytes", disks.map { .integer($0.sent) }),
            ("disk_remaining_bytes", disks.map { .integer($0.remaining) }),
            ("rate_bytes_per_s", .integer(rate)), ("dirty_rate_bytes_per_s", .integer(dirtyRate)),
            ("expected_downtime_ms", expectedDowntime.map { .integer($0) }),
            ("downtime_ms", downtime.map { .integer($0) }), ("throttle_percent", .integer(throttle)),
            ("elapsed_ms", .integer(elapsed / 1_000_000)),
        ])
    }
}
