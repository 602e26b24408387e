import CLinux

/// Orders memory between threads of which only one pays for it.
package enum HostBarrier {
    /// When this returns, each thread of the process has passed a full memory barrier since it was called, as by
    /// membarrier(2); on a kernel without that, the calling thread alone has.
    package static func allThreads() { cl_memory_barrier() }
}
