import CLinux
import Host
import Memory

/// A page-aligned buffer between a chain and a file that wants aligned memory (direct I/O). One worker uses it.
@safe
package final class AlignedBuffer: Sendable {
    /// Its length in bytes.
    package static let size = 256 << 10
    /// SAFETY: `size` mapped bytes that this value alone uses.
    private let mapping: Mapping

    package init() throws(Errno) {
        do throws(HostError) {
            mapping = try Mapping(length: Self.size)
        } catch {
            throw error.errno
        }
    }

    /// Sets all bytes to zero.
    package func clear() { unsafe memset(mapping.base, 0, Self.size) }

    /// Copies readable bytes of a chain to the buffer's start.
    @discardableResult
    package func fill(from chain: borrowing DescriptorChain, at offset: Int, count: Int) -> Int {
        unsafe chain.copyOut(
            offset, UnsafeMutableRawBufferPointer(start: mapping.base, count: min(count, Self.size)))
    }

    /// Copies the buffer's start into writable bytes of a chain.
    package func drain(to chain: borrowing DescriptorChain, at offset: Int, count: Int) {
        let source = unsafe UnsafeRawBufferPointer(start: mapping.base, count: min(count, Self.size))
        chain.write(unsafe Span(_unsafeElements: source.bindMemory(to: UInt8.self)), at: offset)
    }

    /// Reads exactly `count` bytes of a file into the buffer.
    package func read(from file: borrowing FileDescriptor, count: Int, at offset: UInt64) throws(Errno) {
        try move(count) { done in unsafe pread(file.raw, mapping.base + done, count - done, Int(offset) + done) }
    }

    /// Writes the buffer's first `count` bytes to a file.
    package func write(to file: borrowing FileDescriptor, count: Int, at offset: UInt64) throws(Errno) {
        try move(count) { done in unsafe pwrite(file.raw, mapping.base + done, count - done, Int(offset) + done) }
    }

    private func move(_ count: Int, _ step: (Int) -> Int) throws(Errno) {
        guard count <= Self.size else { throw .invalid }
        var done = 0
        while done < count {
            let moved = step(done)
            if moved > 0 {
                done += moved
                continue
            }
            if moved == 0 { throw .inputOutput }
            if Errno.current != .interrupted { throw Errno.current }
        }
    }
}
