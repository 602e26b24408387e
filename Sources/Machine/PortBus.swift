import Legacy

/// I/O ports and the devices at them. It is built before the vCPUs run and never changes afterwards.
struct PortBus: Sendable {
    private struct Entry: Sendable {
        let first: UInt16
        let last: UInt16
        let device: any PortDevice
    }

    private var entries: [Entry] = []

    /// Puts a device at `count` ports from `first` on.
    mutating func add(_ device: any PortDevice, at first: UInt16, count: UInt16) {
        entries.append(Entry(first: first, last: first + (count - 1), device: device))
    }

    /// Reads; nobody at the port answers all ones, as an open bus does.
    @inline(__always)
    func read(_ port: UInt16, size: Int) -> UInt32 {
        for entry in entries where port >= entry.first && port <= entry.last {
            return entry.device.read(port - entry.first, size: size)
        }
        return .max
    }

    /// Writes; what goes to nobody is lost.
    @inline(__always)
    func write(_ port: UInt16, size: Int, value: UInt32) {
        for entry in entries where port >= entry.first && port <= entry.last {
            return entry.device.write(port - entry.first, size: size, value: value)
        }
    }
}
