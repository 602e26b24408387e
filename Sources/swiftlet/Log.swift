import Host
import Logging
import Synchronization

/// Log lines on standard error or in a file: seconds since the start, level, message, and fields as `key=value`.
struct LineLogHandler: LogHandler {
    /// Where the lines go; shared by all loggers of the process.
    final class Sink: Sendable {
        private let file: FileDescriptor
        private let lock = Mutex(())
        private let start: UInt64

        /// - Parameter path: nil for standard error.
        init(path: String?, start: UInt64) throws(HostError) {
            if let path {
                file = try FileDescriptor.openToAppend(path)
            } else {
                file = try FileDescriptor.duplicate(number: 2)
            }
            self.start = start
        }

        func write(_ text: String) {
            let elapsed = (HostClock.monotonic &- start) / 1000
            let micros = String(elapsed % 1_000_000)
            let padded = String(repeating: "0", count: 6 - micros.count) + micros
            let seconds = String(elapsed / 1_000_000)
            let column = String(repeating: " ", count: max(0, 4 - seconds.count))
            lock.withLock { _ in try? file.writeAll(Array("[\(column)\(seconds).\(padded)] \(text)\n".utf8)) }
        }
    }

    let sink: Sink
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(_ sink: Sink, _ level: Logger.Level) { (self.sink, logLevel) = (sink, level) }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { _, new in new }
        let tail = fields.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        let level = "\(event.level)"
        sink.write(level + String(repeating: " ", count: max(1, 8 - level.count)) + "\(event.message)" + tail)
    }

    /// The level for a number of `-v` flags.
    static func level(verbosity: Int) -> Logger.Level {
        switch verbosity {
        case ...0: .notice
        case 1: .info
        case 2: .debug
        default: .trace
        }
    }
}
