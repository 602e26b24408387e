/// What `vmm.ping` answers.
public struct VMMPing: Sendable, Codable, Hashable {
    /// The version of the API: that of the `cloud-hypervisor` whose API it is.
    public let version: String
    /// The version of the executable.
    public let buildVersion: String?
    /// The process.
    public let pid: Int64?
    /// What the executable was built with.
    public let features: [String]?

    enum CodingKeys: String, CodingKey {
        case version, pid, features
        case buildVersion = "build_version"
    }
}

/// What `vmm.info` answers.
public struct VMMInfo: Sendable, Codable, Hashable {
    /// The version of the API: that of the `cloud-hypervisor` whose API it is.
    public let version: String
    /// The version of the executable.
    public let buildVersion: String?
    /// The process.
    public let pid: Int64?
    /// The VM's configuration; nil before one is created.
    public let config: VMInfo.Config?
    /// The reply as it came.
    public internal(set) var raw: [UInt8] = []

    enum CodingKeys: String, CodingKey {
        case version, pid, config
        case buildVersion = "build_version"
    }
}

/// A device that was added to a running VM.
public struct AddedDevice: Sendable, Codable, Hashable {
    /// The name that `removeDevice` takes.
    public let id: String
    /// Where the guest finds it: `0000:00:05.0`.
    public let bdf: String
}

/// A VM that was made of another one by a fork.
public struct ForkedVM: Sendable, Codable, Hashable {
    /// Where it serves the API.
    public let apiSocket: String
    /// The number of its process.
    public let pid: Int32

    private enum CodingKeys: String, CodingKey {
        case apiSocket = "api_socket"
        case pid
    }
}

/// The reply of `vm.fork`.
package struct ForkedVMs: Decodable {
    /// The VMs, in the order of the request.
    package let children: [ForkedVM]
}

/// Counters of the VM's devices: device id, then counter, then value.
public typealias VMCounters = [String: [String: UInt64]]

/// A reply to a request that this library has no method for.
public struct VMMReply: Sendable, Hashable {
    /// The HTTP status, 200 or 204.
    public let status: Int
    /// The body; empty without one.
    public let body: [UInt8]

    /// A reply.
    public init(status: Int, body: [UInt8]) { (self.status, self.body) = (status, body) }
}

/// One thing that happened in a VMM, as its event monitor tells it.
public struct VMEvent: Sendable, Hashable, Codable {
    /// When, since the VMM started.
    public struct Timestamp: Sendable, Hashable, Codable {
        /// Whole seconds.
        public let secs: UInt64
        /// Nanoseconds beyond them.
        public let nanos: UInt32
    }

    /// When it happened.
    public let timestamp: Timestamp
    /// Whose event it is: `vmm`, `vm`, `virtio-device`, `guest`.
    public let source: String
    /// What happened: `booted`, `device-removed`, …
    public let event: String
    /// More about it.
    public let properties: JSON?
    /// Its number among the events of this VMM process, from 1 on, each one more than the one before: what a stream tells
    /// of the past has the numbers that it had. nil where the VMM gives none.
    public internal(set) var id: UInt64?
    /// The event as it came.
    public internal(set) var raw: [UInt8] = []

    enum CodingKeys: CodingKey { case timestamp, source, event, properties }
}
