import CLinux

/// This process, as others see it.
package enum ProcessIdentity {
    /// Its id (getpid(2)).
    package static var id: Int32 { getpid() }
}

/// Ends the process (exit(3)): what is buffered for standard output is written first.
package func endProcess(_ status: Int32) -> Never { exit(status) }
