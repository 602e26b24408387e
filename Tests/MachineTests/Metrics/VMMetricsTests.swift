import Spec
import TestSupport
import Testing

@testable import Machine

/// What a running VM tells of itself.
@Suite(.serialized) struct VMMetricsTests {
    private func value(_ line: String, _ families: [MetricFamily]) -> Double? {
        PrometheusText.render(families).split(separator: "\n").first { $0.hasPrefix("\(line) ") }
            .flatMap { Double($0.dropFirst(line.count + 1)) }
    }

    private func exits(_ vm: RunningVM) -> [Double] {
        ["io", "mmio", "interrupted"].compactMap {
            value("swiftlet_vcpu_exits_total{vcpu=\"0\",reason=\"\($0)\"}", vm.controller.status.metrics)
        }
    }

    @Test func aGuestIsCountedWhileItRunsAndNotWhileItStandsStill() throws {
        try Guests.alone {
            let vm = try RunningVM("mode=echo seconds=50")
            #expect(vm.controller.status.counters == nil)
            #expect(value("process_resident_memory_bytes", vm.controller.status.metrics) ?? 0 > 1e6)
            #expect(value("swiftlet_vm_memory_bytes", vm.controller.status.metrics) == nil)
            var config = Guests.config(vcpus: 2)
            config.serial = ConsoleConfig(mode: .null)
            try vm.create(config)
            #expect(value("swiftlet_vm_state{state=\"Created\"}", vm.controller.status.metrics) == 1)
            try vm.command(.boot)
            let status = vm.controller.status
            let out = "swiftlet_console_bytes_total{console=\"serial\",direction=\"out\"}"
            #expect(Deadline.seconds(20).wait { value(out, status.metrics) ?? 0 > 20 })
            #expect(value("swiftlet_vm_memory_bytes", status.metrics) == Double(32 << 20))
            #expect(value("swiftlet_vcpu_cpu_seconds_total{vcpu=\"1\"}", status.metrics) ?? 0 > 0)
            #expect(exits(vm).first ?? 0 > 20)
            let counters = try #require(status.counters).text()
            #expect(counters.contains(#""__rng":{"read_bytes":"#), "\(counters)")

            try vm.command(.pause)
            let still = exits(vm)
            sleepThread(.milliseconds(100))
            #expect(exits(vm) == still && still.count == 3)
            #expect(value("swiftlet_vm_state{state=\"Paused\"}", status.metrics) == 1)
            #expect(value("swiftlet_vm_state{state=\"Running\"}", status.metrics) == 0)
            try vm.command(.resume)

            // What the guest said outlives it.
            let said = value(out, status.metrics) ?? 0
            try vm.command(.shutdown)
            #expect(status.counters == nil && value(out, status.metrics) ?? 0 >= said)
            #expect(vm.end() == .quit)
        }
    }
}
