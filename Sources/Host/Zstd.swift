#if Zstd
    import CZstd
#endif

/// Compression by libzstd, where the package was built with the trait `Zstd`.
package enum Zstd {
    /// Whether this program has it.
    package static var isBuiltIn: Bool {
        #if Zstd
            true
        #else
            false
        #endif
    }

    /// How to get a program that has it.
    package static let remedy = "build it with `swift build --traits Zstd`, which takes libzstd-dev"

    /// What a program says that was built without it.
    static var missing: HostError { HostError("compress with libzstd (\(remedy))", nil, .notSupported) }
}

/// Compresses bytes, at zstd's level 1, again and again in the same memory.
///
/// One thread at a time uses it.
@safe
package final class ZstdCompressor: @unchecked Sendable {
    // Sendable: the pointer never changes; that one thread at a time uses what it leads to is for the users to say.

    #if Zstd
        /// SAFETY: libzstd's, from `init` until `deinit`.
        private let context: OpaquePointer
    #endif

    /// - Throws: where libzstd has no memory, or is not built in.
    package init() throws(HostError) {
        #if Zstd
            guard let context = unsafe ZSTD_createCCtx() else { throw HostError("compress memory", nil, .noMemory) }
            unsafe self.context = context
            // Its own checksum is left off, as it is by default: frames have one.
            _ = unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 1)
        #else
            throw Zstd.missing
        #endif
    }

    #if Zstd
        deinit { _ = unsafe ZSTD_freeCCtx(context) }
    #endif

    /// Compresses bytes that nobody writes meanwhile into one frame of zstd, which says how many they are.
    ///
    /// - Returns: how many bytes the frame has; nil where it does not fit into the target, which holds anything then.
    package func compress(_ source: HostRange, into target: HostRange) -> Int? {
        #if Zstd
            // SAFETY: both ranges have their `count` bytes, and do not overlap by the word of the caller.
            let count = unsafe ZSTD_compress2(context, target.base, target.count, source.base, source.count)
            return ZSTD_isError(count) == 0 ? Int(exactly: count) : nil
        #else
            return nil
        #endif
    }
}

/// Gets back what a ``ZstdCompressor`` made smaller, again and again in the same memory.
///
/// One thread at a time uses it.
@safe
package final class ZstdDecompressor: @unchecked Sendable {
    // Sendable: as of the compressor.

    #if Zstd
        /// SAFETY: libzstd's, from `init` until `deinit`.
        private let context: OpaquePointer
        /// What a frame of zstd begins with (RFC 8878, 3.1.1).
        private static let magic: UInt32 = 0xFD2F_B528
    #endif

    /// - Throws: where libzstd has no memory, or is not built in.
    package init() throws(HostError) {
        #if Zstd
            guard let context = unsafe ZSTD_createDCtx() else { throw HostError("decompress memory", nil, .noMemory) }
            unsafe self.context = context
        #else
            throw Zstd.missing
        #endif
    }

    #if Zstd
        deinit { _ = unsafe ZSTD_freeDCtx(context) }
    #endif

    /// Fills a range from bytes of anybody's, which nobody writes meanwhile: they have to be one frame of zstd that says
    /// that it holds as many bytes as the range has, and does.
    ///
    /// - Returns: whether they are; the target holds anything if not.
    package func decompress(_ source: HostRange, into target: HostRange) -> Bool {
        #if Zstd
            // Neither a frame that is skipped nor one of an old format, which libzstd would read as well.
            guard source.count >= MemoryLayout<UInt32>.size else { return false }
            // SAFETY: the range was checked to have as many bytes; libzstd reads `source.count` bytes of it, and writes
            // `target.count` bytes at the most, none of which it takes for a length or a place.
            guard unsafe UInt32(littleEndian: source.base.loadUnaligned(as: UInt32.self)) == Self.magic,
                unsafe ZSTD_getFrameContentSize(source.base, source.count) == UInt64(target.count),
                unsafe ZSTD_findFrameCompressedSize(source.base, source.count) == source.count
            else { return false }
            return unsafe ZSTD_decompressDCtx(context, target.base, target.count, source.base, source.count)
                == target.count
        #else
            return false
        #endif
    }
}
