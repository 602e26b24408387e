import CLinux

/// How many descriptors the process may have open (RLIMIT_NOFILE, getrlimit(2)).
package enum OpenFileLimit {
    /// Raises the soft limit up to the hard one, but not beyond what is asked for: the limit that holds now.
    @discardableResult
    package static func raise(to wanted: Int) -> Int {
        var limit = rlimit()
        // SAFETY: the calls fill and read the local.
        guard unsafe cl_file_limit(&limit) == 0 else { return 0 }
        let goal = min(rlim_t(clamping: wanted), limit.rlim_max)
        if goal > limit.rlim_cur {
            var raised = limit
            raised.rlim_cur = goal
            if unsafe cl_set_file_limit(&raised) == 0 { limit = raised }
        }
        return Int(clamping: limit.rlim_cur)
    }
}
