import CLinux

/// Starting other processes.
package enum Spawn {
    /// Gives this process, its first thread, the name that ps(1) shows.
    package static func name(_ name: String) {
        // SAFETY: the name's bytes live through the call.
        _ = unsafe name.withCString { unsafe cl_set_thread_name($0) }
    }

    /// Starts this very program once more, in a session of its own and as nobody's child, so that neither a terminal nor this
    /// process's end reaches it. It has this one's standard output and error.
    ///
    /// - Parameters:
    ///   - arguments: the first is the program's own name.
    ///   - keep: the number of a descriptor that it gets as number 3.
    package static func again(_ arguments: [String], keeping keep: Int32) throws(HostError) {
        // SAFETY: strdup's copies are freed below; the array ends with nil and lives through the call.
        var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        let result = unsafe words.withUnsafeMutableBufferPointer { list in
            unsafe cl_spawn_detached("/proc/self/exe", list.baseAddress, keep)
        }
        _ = try checked(result, "start", arguments.first ?? "")
    }
}
