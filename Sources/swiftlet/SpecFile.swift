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
            let name = path == "-" ? "standard input" : path
            throw MachineError.spec("\(name): cannot be read: \(error.errno); \(remedy(error.errno))")
        }
        do {
            return try VMConfig.parse(bytes, mode: .strict)
        } catch {
            throw MachineError.spec("\(error)")
        }
    }

    private static func remedy(_ errno: Errno) -> String {
        switch errno {
        case .noSuchFile: "check the path"
        case .isDirectory: "name the JSON file in it"
        case .accessDenied, .notPermitted: "give this user the right to read it"
        case .tooLarge: "a spec has at most \(limit >> 20) MiB; name the JSON file"
        default: "name a readable JSON file, or - for standard input"
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
