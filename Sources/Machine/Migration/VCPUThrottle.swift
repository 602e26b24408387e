import Host
import Synchronization

/// Holds a machine's vCPUs back, so that its memory can be sent faster than it is written.
final class VCPUThrottle: Sendable {
    /// How often the vCPUs are interrupted, in us.
    static let period = 10_000

    private let percent = Atomic<Int>(0)
    private let thread = Mutex<Thread?>(nil)

    /// Has the vCPUs rest for so many per cent of the time, at most 99; 0 ends that.
    func set(_ wanted: Int, _ runners: [VCPURunner]) {
        percent.store(min(max(wanted, 0), 99), ordering: .relaxed)
        if wanted <= 0 {
            let running = thread.withLock { thread in
                defer { thread = nil }
                return thread
            }
            running?.join()
            return
        }
        thread.withLock { thread in
            guard thread == nil else { return }
            thread = try? Thread("throttle") { [self] in
                while true {
                    // Ordering: the number orders nothing else.
                    let part = percent.load(ordering: .relaxed)
                    guard part > 0 else { return }
                    // The share of the rest in a period of work and rest.
                    let rest = Self.period * part / (100 - part)
                    for runner in runners { runner.askToRest(microseconds: rest) }
                    // In parts, so that whoever ends it does not wait for long.
                    let end = HostClock.monotonic + UInt64(Self.period + rest) * 1000
                    while HostClock.monotonic < end, percent.load(ordering: .relaxed) > 0 {
                        HostClock.sleep(microseconds: 2000)
                    }
                }
            }
        }
    }
}
