import CLinux
import Host
import Synchronization

/// The RAM of one guest: a few regions of guest-physical addresses and the host memory behind them.
///
/// The guest, KVM and the device workers use it at the same time, so nobody ever has a reference into it: bytes are
/// copied out and then looked at. Copies tear as the guest's own racing stores would; each caller works on its copy.
@safe
package final class GuestMemory: @unchecked Sendable {
    // Sendable: the region table is written once, in the initialiser; races on the bytes are the guest's.

    @safe
    struct Region {
        let address: UInt64
        let size: UInt64
        /// SAFETY: `size` mapped bytes, kept by `owners`.
        let base: UnsafeMutableRawPointer
        let firstPage: Int
    }

    final class Owner: Sendable {
        let mapping: Mapping
        init(_ mapping: consuming Mapping) { self.mapping = mapping }
    }

    /// SAFETY: `regionCount` initialised elements, freed in deinit; each region's base has `size` mapped bytes that
    /// `owners` keeps for as long as this object lives.
    private let table: UnsafeMutablePointer<Region>
    private let regionCount: Int
    private let owners: [Owner]
    private let file: File?
    /// Files that were copied into the memory and are still mapped.
    let sources = Mutex<[Owner]>([])

    private let guarded = Mutex<PageGuard?>(nil)

    /// The regions in ascending order of their addresses.
    package let ranges: [MemoryRange]
    /// All the RAM, in bytes.
    package let size: UInt64
    /// Whether all pages are there.
    package let arrival = PageArrival()
    /// The pages that devices wrote while it is on.
    package let dirty: DirtyBitmap

    /// Size of a page of the dirty log, in bytes.
    package static let pageSize: UInt64 = 4096

    /// Reserves the memory of the ranges, which must be ascending, disjoint and made of whole pages.
    ///
    /// - Parameter isCancelled: asked again and again while pages are allocated ahead, which takes seconds for a large
    ///   guest; true ends that with `GuestMemoryError.cancelled`.
    package init(
        _ ranges: [MemoryRange], _ backing: MemoryBacking = MemoryBacking(),
        unless isCancelled: () -> Bool = { false }
    ) throws(GuestMemoryError) {
        let page = backing.hugePageSize ?? Self.pageSize
        var end: UInt64 = 0
        var total: UInt64 = 0
        for range in ranges {
            let (last, wraps) = range.address.addingReportingOverflow(range.size)
            guard !wraps, range.size > 0, range.address >= end, range.address % Self.pageSize == 0,
                range.size % page == 0, Int(exactly: range.size) != nil
            else { throw .badRegion(address: range.address, size: range.size) }
            end = last
            total += range.size
        }
        do {
            let file = try Self.makeFile(total, backing)
            var owners: [Owner] = []
            var offset: Int64 = 0
            for range in ranges {
                var storage = Mapping.Backing.anonymous
                if let descriptor = file?.descriptor.raw {
                    storage = .shared(descriptor: descriptor, offset: offset)
                }
                // KVM gives a guest a huge page of the host's only where it is one of the guest's too.
                let mapping = try Mapping(
                    length: Int(range.size), storage, hugePageSize: backing.hugePageSize.map { Int($0) },
                    mirrored: range.address)
                try Self.advise(mapping, backing)
                try Self.populate(mapping, backing, unless: isCancelled)
                owners.append(Owner(mapping))
                offset += Int64(range.size)
            }
            let table = UnsafeMutablePointer<Region>.allocate(capacity: max(ranges.count, 1))
            var page = 0
            for (index, range) in ranges.enumerated() {
                let region = unsafe Region(
                    address: range.address, size: range.size, base: owners[index].mapping.base, firstPage: page)
                unsafe (table + index).initialize(to: region)
                page += Int(range.size / Self.pageSize)
            }
            let dirty = try DirtyBitmap(pages: page)
            unsafe self.table = table
            self.dirty = dirty
            self.owners = owners
            self.file = file
        } catch let error as HostError {
            throw .host(Self.explain(error, backing))
        } catch {
            throw .cancelled
        }
        regionCount = ranges.count
        self.ranges = ranges
        size = total
    }

    deinit {
        // Before the memory is unmapped.
        guarded.withLock { $0 = nil }
        unsafe table.deallocate()
    }

    /// The host address of a region's first byte, for KVM's memory slots and for other processes' maps.
    package func hostAddress(ofRegion index: Int) -> UInt { unsafe UInt(bitPattern: table[index].base) }

    /// Unmaps the files that were copied into the memory. To do that costs a quarter of what copying them does, and
    /// nobody waits for it, so it is left to a time when the guest has booted.
    package func releaseSources() { sources.withLock { $0.removeAll() } }

    /// Files are mapped into the memory. A page that one of them loses, because it becomes shorter or its medium fails,
    /// reads as zeroes from now on, and `arrival` says that memory is lost, where the process would end otherwise.
    ///
    /// - Parameter woken: signalled when that happened.
    /// - Throws: ``HostError`` where the process has too many such ranges.
    package func guardPages(_ woken: EventFD) throws(HostError) {
        let pages = try arrival.guardPages(of: hostRanges.map(\.host), woken)
        guarded.withLock { $0 = pages }
    }

    /// The memfd behind the memory when it is shared: regions lie in it one behind the other.
    package var fileDescriptor: Int32? { file?.descriptor.raw }

    /// The host address of a guest-physical range that lies in one region, or nil.
    ///
    /// SAFETY: the pointer is valid as long as this memory lives; the guest may change the bytes at any time, so they
    /// are copied, never referenced.
    @unsafe @inline(__always)
    package func hostPointer(_ address: UInt64, _ length: UInt64) -> UnsafeMutableRawPointer? {
        for index in 0..<regionCount {
            let offset = unsafe address &- table[index].address
            let regionSize = unsafe table[index].size
            if offset < regionSize {
                guard length <= regionSize &- offset else { return nil }
                return unsafe table[index].base + Int(truncatingIfNeeded: offset)
            }
        }
        return nil
    }

    /// Marks the pages of a range as written by a device, while tracking is on.
    @inline(__always)
    package func markDirty(_ address: UInt64, _ length: UInt64) {
        guard dirty.isTracking, length > 0 else { return }
        for index in 0..<regionCount {
            let offset = unsafe address &- table[index].address
            if unsafe offset < table[index].size {
                let first = unsafe table[index].firstPage + Int(offset / Self.pageSize)
                let last = unsafe min(offset &+ length &- 1, table[index].size &- 1) / Self.pageSize
                dirty.set(first...(unsafe table[index].firstPage + Int(last)))
                return
            }
        }
    }

    /// Marks the pages of a part of one region that was found before by `hostPointer`.
    package func markDirty(hostRange: iovec) {
        for index in 0..<regionCount {
            let offset = unsafe UInt64(UInt(bitPattern: hostRange.iov_base) &- UInt(bitPattern: table[index].base))
            if unsafe offset < table[index].size {
                return unsafe markDirty(table[index].address &+ offset, UInt64(hostRange.iov_len))
            }
        }
    }

    final class File: Sendable {
        let descriptor: FileDescriptor
        init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
    }

    private static func makeFile(_ size: UInt64, _ backing: MemoryBacking) throws(HostError) -> File? {
        if let adopted = backing.adopted {
            let copy = FileDescriptor(owning: try checked(cl_fcntl(adopted, F_DUPFD_CLOEXEC, 0), "take over a memfd"))
            let found = try copy.status()
            // A page that is missing would be a SIGBUS.
            guard found.size >= 0, UInt64(found.size) >= size else {
                throw HostError("use as guest memory of \(size) bytes a file of \(found.size)", nil, .invalid)
            }
            return File(copy)
        }
        guard backing.shared else { return nil }
        var flags = CL_MFD_CLOEXEC
        if let huge = backing.hugePageSize {
            flags |= CL_MFD_HUGETLB | UInt32(huge.trailingZeroBitCount) << UInt32(CL_MFD_HUGE_SHIFT)
        }
        // SAFETY: the name is a constant that the kernel copies.
        let raw = try checked(unsafe cl_memfd_create("guest-memory", flags), "create a memfd for guest memory")
        let descriptor = FileDescriptor(owning: raw)
        guard ftruncate(descriptor.raw, Int(size)) == 0 else {
            throw HostError("size the guest memory's memfd to \(size) bytes", nil, Errno.current)
        }
        return File(descriptor)
    }

    /// Says what to do where huge pages are what is missing.
    private static func explain(_ error: HostError, _ backing: MemoryBacking) -> HostError {
        guard let size = backing.hugePageSize, error.errno == .noMemory || error.errno == .invalid else { return error }
        return HostError(
            "\(error.operation) in huge pages of \(size >> 20) MiB ($.memory.hugepages; "
                + "/sys/kernel/mm/hugepages/hugepages-\(size >> 10)kB/nr_hugepages says how many there are, and takes more)",
            error.subject, error.errno)
    }

    private static func advise(_ mapping: borrowing Mapping, _ backing: MemoryBacking) throws(HostError) {
        // A dump of a crash is about us; the guest's memory is its owner's.
        _ = mapping.advise(CL_MADV_DONTDUMP)
        // A kernel without these features keeps working with plain pages, so their errors are left alone.
        if backing.hugePageSize == nil {
            _ = mapping.advise(CL_MADV_NOHUGEPAGE)
            if backing.transparentHugePages {
                // The first huge page holds what the guest's boot needs, and the hole of a PC for ROMs: a quarter of it is
                // ever looked at. A page that is there already makes the kernel take small ones around it.
                // SAFETY: the mapping has at least one page, and nobody else knows of it yet.
                unsafe mapping.base.storeBytes(of: 0, as: UInt8.self)
                _ = mapping.advise(CL_MADV_HUGEPAGE)
            }
        }
        if backing.mergeable { _ = mapping.advise(CL_MADV_MERGEABLE) }
    }

    private static func populate(
        _ mapping: borrowing Mapping, _ backing: MemoryBacking, unless isCancelled: () -> Bool
    ) throws {
        guard backing.prefault else { return }
        // Small enough to ask often, and whole pages of any size but 1 GiB.
        let step = max(64 << 20, Int(backing.hugePageSize ?? 0))
        for start in stride(from: 0, to: mapping.length, by: step) {
            if isCancelled() { throw GuestMemoryError.cancelled }
            if let errno = mapping.advise(CL_MADV_POPULATE_WRITE, start..<min(start + step, mapping.length)) {
                throw HostError("allocate \(mapping.length) bytes of guest memory ahead (memory.prefault)", nil, errno)
            }
        }
    }
}
