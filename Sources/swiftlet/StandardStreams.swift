import Host

/// Writes to standard output or standard error, whole lines.
enum StandardStreams {
    /// Writes a line to standard output; false when nobody reads it any more.
    @discardableResult
    static func out(_ line: String) -> Bool { write(Array((line + "\n").utf8), to: 1) }
    /// Writes a line to standard error.
    static func error(_ line: String) { _ = write(Array((line + "\n").utf8), to: 2) }
    /// Writes a text to standard error as it is.
    static func errorAsItIs(_ text: String) { _ = write(Array(text.utf8), to: 2) }
    /// Writes bytes to standard output as they are; false when nobody reads them any more.
    static func write(_ bytes: [UInt8]) -> Bool { write(bytes, to: 1) }

    private static func write(_ bytes: [UInt8], to number: Int32) -> Bool {
        do throws(HostError) {
            let file = try FileDescriptor.duplicate(number: number)
            // A reader that went away is no reason to fail.
            do throws(Errno) { try file.writeAll(bytes) } catch { return false }
            return true
        } catch {
            return false
        }
    }
}
