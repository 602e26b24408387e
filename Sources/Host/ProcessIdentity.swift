import CLinux

/// This process, as others see it.
package enum ProcessIdentity {
    /// Its id (getpid(2)).
    package static var id: Int32 { getpid() }
}
