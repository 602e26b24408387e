import CLinux
import Host

/// How a dirty log works: the bits of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (api.rst 7.18).
package struct DirtyLogFeatures: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    /// The standard library's own has the runtime look through all conformances of the executable, half a ms.
    package init(arrayLiteral elements: DirtyLogFeatures...) {
        self.init(rawValue: elements.reduce(0) { $0 | $1.rawValue })
    }

    /// To look at it clears nothing; `clearDirtyLog` does.
    package static let manualProtection = DirtyLogFeatures(rawValue: UInt64(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE))
    /// All pages count as written when it is turned on, which then changes no page table; needs `manualProtection`.
    package static let initiallySet = DirtyLogFeatures(rawValue: UInt64(KVM_DIRTY_LOG_INITIALLY_SET))
}

extension VMHandle {
    /// Says how the dirty logs work that are turned on from now on; none is on meanwhile. KVM looks at it each time that a
    /// log is cleared, too.
    ///
    /// - Parameter features: some of `dirtyLogFeatures`.
    package func setDirtyLogs(_ features: DirtyLogFeatures) throws(KVMError) {
        try enable(.dirtyLogProtect, features.rawValue)
    }

    /// The pages of a slot that were written since they were last cleared (KVM_GET_DIRTY_LOG, api.rst 4.8). Without manual
    /// protection it clears them.
    ///
    /// - Parameter pages: of 4 KiB that the slot has.
    /// - Returns: a bit for each page, the lowest bit of the first word the slot's first page.
    package func dirtyLog(slot: UInt32, pages: Int) throws(KVMError) -> [UInt64] {
        var words = [UInt64](repeating: 0, count: (pages + 63) / 64)
        let result = unsafe words.withUnsafeMutableBytes { bytes -> Int32 in
            var log = unsafe kvm_dirty_log()
            unsafe log.slot = slot
            unsafe log.dirty_bitmap = bytes.baseAddress
            // SAFETY: KVM fills a bit for each of the slot's pages, rounded up to 64, and keeps no pointer.
            return unsafe cl_ioctl_pointer(descriptor, CL_KVM_GET_DIRTY_LOG, &log)
        }
        guard result >= 0 else { throw .request("read the dirty log of memory slot \(slot)", Errno(-result)) }
        return words
    }

    /// Clears pages of a slot in its dirty log and protects them, so that the next write to each is noted again
    /// (KVM_CLEAR_DIRTY_LOG, api.rst 4.117).
    ///
    /// - Parameters:
    ///   - words: a bit for each page of the slot, as `dirtyLog` has them: those to clear.
    ///   - pages: the part of them that counts. It begins at a multiple of 64 pages, and ends at one or at the slot's end.
    package func clearDirtyLog(slot: UInt32, _ words: [UInt64], pages: Range<Int>) throws(KVMError) {
        let first = pages.lowerBound / 64
        guard pages.lowerBound % 64 == 0, (pages.upperBound + 63) / 64 <= words.count, !pages.isEmpty else {
            throw .request("clear the dirty log of memory slot \(slot) at page \(pages.lowerBound)", .invalid)
        }
        let result = unsafe words.withUnsafeBytes { bytes -> Int32 in
            var clear = unsafe kvm_clear_dirty_log()
            unsafe clear.slot = slot
            unsafe clear.first_page = UInt64(pages.lowerBound)
            unsafe clear.num_pages = UInt32(clamping: pages.count)
            // SAFETY: KVM reads a bit for each of the pages, rounded up to 64, which was checked, and keeps no pointer.
            unsafe clear.dirty_bitmap = UnsafeMutableRawPointer(
                mutating: bytes.baseAddress.map { unsafe $0 + first * 8 })
            return unsafe cl_ioctl_pointer(descriptor, CL_KVM_CLEAR_DIRTY_LOG, &clear)
        }
        guard result >= 0 else { throw .request("clear the dirty log of memory slot \(slot)", Errno(-result)) }
    }
}
