import CharBackend
import Host
import Spec
import Virtio

extension VMStatus {
    /// The numbers of `vm.counters`: by device, those of the devices that count. nil while the guest is off.
    package var counters: JSONValue? {
        let readings = read { content in
            content.instance?.transports.map { (id: $0.id, counters: $0.device.reading.counters) }
        }
        let paging = read { $0.paging }?.reading
        guard let readings else { return nil }
        var devices = JSONObject()
        for (id, counters) in readings where !counters.isEmpty {
            devices[id] = .members(counters.map { ($0.name, .integer($0.value)) })
        }
        if let paging {
            devices["__memory"] = .members([
                ("prefetched_bytes", .integer(paging.prefetchedBytes)),
                ("touched_pages", .integer(paging.touchedPages)), ("faults", .integer(paging.faults)),
                ("paged_bytes", .integer(paging.pagedBytes)),
            ])
        }
        return .object(devices)
    }

    /// All that `vmm.metrics` tells of the VM and the process.
    package var metrics: [MetricFamily] {
        Self.processFamilies(ProcessReading.current) + read { Self.families($0) }
    }

    private static func families(_ content: Content) -> [MetricFamily] {
        var families = Self.stateFamilies(content)
        if let lines = content.lines {
            let named = [ConsoleBackends.Line.serial, .console].compactMap { line in
                lines.port(line).map { (name: line.rawValue, port: $0) }
            }
            families += Self.consoleFamilies(named)
        }
        if let instance = content.instance {
            families += Self.vcpuFamilies(instance.runners)
            families += Self.dirtyFamilies(instance.dirtyMeter.reading)
            families += Self.deviceFamilies(instance.transports.map(\.device))
        }
        return families
    }

    private static func processFamilies(_ process: ProcessReading?) -> [MetricFamily] {
        var families = [
            MetricFamily(
                .counter, "process_cpu_seconds_total", "Processor time of all threads of the process.",
                [.init([], .time(HostClock.processorTime))])
        ]
        guard let process else { return families }
        families += [
            MetricFamily(
                .gauge, "process_resident_memory_bytes", "Resident memory of the process, the guest's included.",
                [.init([], .integer(process.resident))]),
            MetricFamily(
                .gauge, "process_virtual_memory_bytes", "Address space of the process.",
                [.init([], .integer(process.virtual))]),
            MetricFamily(
                .gauge, "swiftlet_resident_memory_bytes", "Resident memory of the process by kind.",
                [
                    .init([("kind", "anonymous")], .integer(process.anonymous)),
                    .init([("kind", "file")], .integer(process.file)),
                    .init([("kind", "shared")], .integer(process.shared)),
                ]),
            MetricFamily(
                .gauge, "swiftlet_threads", "Threads of the process.", [.init([], .integer(process.threads))]),
        ]
        return families
    }

    private static func stateFamilies(_ content: Content) -> [MetricFamily] {
        guard let config = content.config else { return [] }
        return [
            MetricFamily(
                .gauge, "swiftlet_vm_state", "1 for the state that the VM is in, 0 for the others.",
                State.allCases.map { .init([("state", $0.rawValue)], .integer($0 == content.state ? 1 : 0)) }),
            MetricFamily(
                .gauge, "swiftlet_vm_memory_bytes", "The guest's RAM.", [.init([], .integer(config.memory.size))]),
        ]
    }

    /// How fast the guest's memory is written; empty while nobody measures it.
    private static func dirtyFamilies(_ reading: DirtyMeter.Reading?) -> [MetricFamily] {
        guard let reading else { return [] }
        return [
            MetricFamily(
                .counter, "swiftlet_memory_dirtied_bytes_total",
                "Guest memory that was written, in pages, each counted once between two looks.",
                [.init([], .integer(reading.bytes))]),
            MetricFamily(
                .gauge, "swiftlet_memory_dirty_bytes_per_second", "The same a second, between the last two looks.",
                reading.bytesPerSecond.map { [.init([], .integer($0))] } ?? []),
        ]
    }

    private static func vcpuFamilies(_ runners: [VCPURunner]) -> [MetricFamily] {
        [
            MetricFamily(
                .counter, "swiftlet_vcpu_exits_total", "Returns of KVM_RUN by reason.",
                runners.flatMap { runner in
                    VCPUExits.Reason.allCases.map { reason in
                        .init(
                            [("vcpu", "\(runner.index)"), ("reason", reason.name)],
                            .integer(runner.exits[reason]))
                    }
                }),
            MetricFamily(
                .counter, "swiftlet_vcpu_cpu_seconds_total",
                "Processor time of the vCPU's thread, in the guest or not.",
                runners.compactMap { runner in
                    runner.processorTime.map { .init([("vcpu", "\(runner.index)")], .time($0)) }
                }),
        ]
    }

    /// The devices' families; a device's kind and id are its labels.
    static func deviceFamilies(_ devices: [any VirtioDevice]) -> [MetricFamily] {
        typealias Sample = MetricFamily.Sample
        var requests: [Sample] = [], bytes: [Sample] = [], latencies: [Sample] = []
        var errors: [Sample] = [], drops: [Sample] = [], depths: [Sample] = [], streams: [Sample] = []
        for device in devices {
            let reading = device.reading
            let labels = [(name: "device", value: device.id), (name: "kind", value: "\(device.type)")]
            for operation in reading.operations {
                let labels = labels + [(name: "operation", value: operation.name)]
                requests.append(Sample(labels, .integer(operation.requests)))
                bytes.append(Sample(labels, .integer(operation.bytes)))
                if let latency = operation.latency { latencies.append(Sample(labels, .histogram(latency))) }
            }
            if !reading.operations.isEmpty { errors.append(Sample(labels, .integer(reading.errors))) }
            if let lost = reading.drops { drops.append(Sample(labels, .integer(lost))) }
            if let open = reading.streams { streams.append(Sample(labels, .integer(open))) }
            for (queue, depth) in reading.depths {
                depths.append(Sample(labels + [(name: "queue", value: "\(queue)")], .integer(depth)))
            }
        }
        return [
            MetricFamily(
                .counter, "swiftlet_device_requests_total",
                "Requests that succeeded; frames of a network device, packets of a socket device.", requests),
            MetricFamily(.counter, "swiftlet_device_bytes_total", "Bytes that they moved.", bytes),
            MetricFamily(.counter, "swiftlet_device_errors_total", "Requests that failed.", errors),
            MetricFamily(.counter, "swiftlet_device_dropped_frames_total", "Frames that were lost.", drops),
            MetricFamily(
                .gauge, "swiftlet_device_queue_depth", "Requests that the queue's worker had before it.", depths),
            MetricFamily(.gauge, "swiftlet_device_open_streams", "Streams that are open.", streams),
            MetricFamily(
                .histogram, "swiftlet_device_latency_seconds",
                "Time from a request's taking to its completion, requests that succeeded.", latencies),
        ]
    }

    /// The consoles' families.
    ///
    /// - Parameter lines: by name.
    private static func consoleFamilies(_ lines: [(name: String, port: CharPort)]) -> [MetricFamily] {
        [
            MetricFamily(
                .counter, "swiftlet_console_bytes_total", "Bytes that went over the guest's consoles.",
                lines.flatMap { line in
                    [("out", line.port.written), ("in", line.port.delivered)].map { direction, count in
                        .init([("console", line.name), ("direction", direction)], .integer(count))
                    }
                }),
            MetricFamily(
                .counter, "swiftlet_console_dropped_bytes_total", "Bytes that a guest wrote without waiting for room.",
                lines.map { .init([("console", $0.name)], .integer($0.port.dropped)) }),
        ]
    }
}
