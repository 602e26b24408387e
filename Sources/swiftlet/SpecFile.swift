import Host
import Machine
import Spec

/// Reads specs.
enum SpecFile {
    /// The longest spec, in bytes.
    static let limit = 4 << 20

    /// Reads and validates a spec; unknown fields are errors.
    ///
    /// - Parameter path: `-` is standard input.
    static func read(_ path: String) throws -> ParsedConfig {
        let bytes: [UInt8]
        do {
            bytes = try load(path)
        } catch {
            let hint = error.errno == .isDirectory ? "; name the JSON file in it" : ""
            throw MachineError.spec("\(path == "-" ? "standard input" : path): cannot be read: \(error.errno)\(hint)")
        }
        do {
            return try VMConfig.parse(bytes, mode: .strict)
        } catch {
            throw MachineError.spec("\(error)")
        }
    }

    /// The bytes of a spec's file.
    ///
    /// - Parameter path: `-` is standard input.
    static func load(_ path: String) throws(HostError) -> [UInt8] {
        let file = path == "-" ? try FileDescriptor.duplicate(number: 0) : try FileDescriptor.openForReading(path)
        do {
            return try file.readAll(limit: limit)
        } catch {
            throw HostError("read", path, error)
        }
    }
}
