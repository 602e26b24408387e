/// The words that the process was started with.
package enum ProcessArguments {
    /// The first word that is not UTF-8, with what is wrong in it replaced; nil if all are.
    ///
    /// `CommandLine.arguments` repairs such words, after which a path names another file or none.
    package static var malformed: String? {
        // What was repaired has this character, and nearly nothing else does.
        guard CommandLine.arguments.contains(where: { $0.unicodeScalars.contains("\u{FFFD}") }) else { return nil }
        for index in 0..<Int(CommandLine.argc) {
            // SAFETY: the kernel made an array of `argc` strings, which nobody changes.
            guard let word = unsafe CommandLine.unsafeArgv[index] else { continue }
            if unsafe String(validatingCString: word) == nil { return unsafe String(cString: word) }
        }
        return nil
    }
}
