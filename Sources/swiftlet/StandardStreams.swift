import Host

/// Writes a line to standard output or standard error, whole.
enum StandardStreams {
    static func out(_ line: String) { write(line, to: 1) }
    static func error(_ line: String) { write(line, to: 2) }

    private static func write(_ line: String, to number: Int32) {
        guard let file = try? FileDescriptor.duplicate(number: number) else { return }
        // A reader that went away is no reason to fail.
        try? file.writeAll(Array((line + "\n").utf8))
    }
}
