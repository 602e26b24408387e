// The identity map beyond the first 16 MiB, in 2 MiB pages, made when something is first looked at; and pages of
// the guest's own for tables and buffers.

/// Pages that are handed out once and never taken back.
struct PagePool {
    private var next: UInt64 = 0

    /// A cleared page's address, or 0 when there are no more.
    mutating func take(from start: Image, to end: Image, pages: UInt64 = 1) -> UInt64 {
        if next == 0 { next = start.address }
        guard end.address - next >= pages * 4096 else { return 0 }
        let page = next
        next += pages * 4096
        memoryFill(page, pages * 512, 0)
        return page
    }

    mutating func reset() { next = 0 }
}

enum Paging {
    nonisolated(unsafe) private static var pool = PagePool()

    /// Makes `length` bytes from the physical `address` readable and writable at the same linear address.
    @inline(never) static func map(_ address: UInt64, _ length: UInt64) {
        guard length > 0, address < 1 << 47 else { return }
        var page = address & ~0x1F_FFFF
        let last = (address &+ (length - 1)) & ~0x1F_FFFF
        while page <= last, page < 1 << 47 {
            mapPage(page)
            page += 1 << 21
        }
    }

    private static func mapPage(_ page: UInt64) {
        if page < 16 << 20 { return }
        let pointers = table(Image.pageMap.address + (page >> 39 & 511) * 8)
        let directory = table(pointers + (page >> 30 & 511) * 8)
        let slot = directory + (page >> 21 & 511) * 8
        if memoryRead64(slot) & 1 == 0 {
            memoryWrite64(slot, page | 0x83)
            flushPage(page)
        }
    }

    /// The table that the entry at `slot` points to, made when the entry is empty.
    private static func table(_ slot: UInt64) -> UInt64 {
        let entry = memoryRead64(slot)
        if entry & 1 != 0 { return entry & 0x000F_FFFF_FFFF_F000 }
        let table = pool.take(from: .pagePool, to: .pagePoolEnd)
        if table == 0 { Result.abort("out of page tables") }
        memoryWrite64(slot, table | 3)
        return table
    }
}

/// Memory that devices read and write.
enum DMA {
    nonisolated(unsafe) private static var pool = PagePool()

    /// The address of cleared, page-aligned memory.
    @inline(never) static func pages(_ count: UInt64 = 1) -> UInt64 {
        let address = pool.take(from: .buffers, to: .buffersEnd, pages: count)
        if address == 0 { Result.abort("out of buffer memory") }
        return address
    }

    /// Gives everything back: between devices, each of which has been reset.
    @inline(never) static func reset() { pool.reset() }
}
