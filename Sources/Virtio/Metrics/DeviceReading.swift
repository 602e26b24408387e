/// What a device has done since it was made, at one moment.
///
/// The numbers are read one after the other while the workers go on: each is right, their sums may differ by a request.
package struct DeviceReading: Equatable, Sendable {
    /// One kind of work.
    package struct Operation: Equatable, Sendable {
        /// `read`, `write`, `rx`, `tx`, …
        package let name: String
        /// Requests that succeeded; frames for a network device.
        package var requests: UInt64
        /// Bytes that they moved.
        package var bytes: UInt64
        /// How long they took; nil where that is not measured.
        package var latency: LatencyReading?

        package init(_ name: String, requests: UInt64, bytes: UInt64, latency: LatencyReading? = nil) {
            (self.name, self.requests, self.bytes, self.latency) = (name, requests, bytes, latency)
        }
    }

    /// Its kinds of work, in a fixed order.
    package var operations: [Operation] = []
    /// Requests that failed.
    package var errors: UInt64 = 0
    /// Frames that were lost; nil where nothing of the kind happens.
    package var drops: UInt64?
    /// Streams that are open now; nil where there are none.
    package var streams: UInt64?
    /// The requests that each measured queue has before it, by the queue's number.
    package var depths: [(queue: Int, depth: UInt64)] = []
    /// The same as Cloud Hypervisor's `vm.counters` names it.
    package var counters: [DeviceCounter] = []

    package init() {}

    package static func == (left: DeviceReading, right: DeviceReading) -> Bool {
        left.operations == right.operations && left.errors == right.errors && left.drops == right.drops
            && left.streams == right.streams && left.depths.map(\.queue) == right.depths.map(\.queue)
            && left.depths.map(\.depth) == right.depths.map(\.depth) && left.counters == right.counters
    }
}

/// A named number of `vm.counters`.
package struct DeviceCounter: Equatable, Sendable {
    /// As Cloud Hypervisor has it: `read_bytes`.
    package let name: String
    /// Bytes, requests, or microseconds.
    package let value: UInt64

    package init(_ name: String, _ value: UInt64) { (self.name, self.value) = (name, value) }
}

extension VirtioDevice {
    /// Nothing, for a device that counts nothing.
    package var reading: DeviceReading { DeviceReading() }
}
