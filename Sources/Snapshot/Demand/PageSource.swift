import Host

/// Where the pages of a guest's memory come from that are not there yet: a snapshot, or the machine that it moves from.
///
/// Pages come in chunks of 2 MiB. The regions' chunks follow one another: each region begins with one of its own, and its
/// last one may be shorter.
package protocol PageSource: Sendable {
    /// Those of a chunk's pages that may hold a byte that is not zero; the same each time.
    func dataPages(ofChunk index: Int) -> PageSet

    /// Reads those pages of a chunk. May be called from several threads, and for several chunks at once.
    ///
    /// - Parameters:
    ///   - target: as long as the chunk. What is outside those pages stays as it is.
    ///   - scratch: memory as long as a chunk, to use for anything.
    /// - Throws: what keeps the bytes from being had, or from being right; some of the target may be written then.
    func read(chunk index: Int, into target: HostRange, _ scratch: HostRange) throws(SnapshotError)

    /// Nobody needs the pages any more: who waits in `read` for somebody else goes on, with any error.
    func cancel()
}

/// A snapshot's memory, all of which is checked as it is read.
struct ChainPages: PageSource {
    let chain: SnapshotChain

    func dataPages(ofChunk index: Int) -> PageSet { chain.dataPages(of: chain.top.geometry.chunk(index)) }

    func read(chunk index: Int, into target: HostRange, _ scratch: HostRange) throws(SnapshotError) {
        try chain.read(chain.top.geometry.chunk(index), to: target, scratch)
    }

    func cancel() {}
}
