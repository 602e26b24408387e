import CLinux
import Host

extension GuestMemory {
    /// Copies a value out of guest memory; any alignment.
    package func read<Value: BitwiseCopyable>(
        _ type: Value.Type = Value.self, at address: UInt64
    ) throws(GuestMemoryError) -> Value {
        // SAFETY: the range was checked, and a BitwiseCopyable value is made of any bytes of its size.
        unsafe try pointer(address, UInt64(MemoryLayout<Value>.size)).loadUnaligned(as: Value.self)
    }

    /// Copies a value into guest memory; any alignment.
    package func write<Value: BitwiseCopyable>(_ value: Value, at address: UInt64) throws(GuestMemoryError) {
        let length = UInt64(MemoryLayout<Value>.size)
        // SAFETY: the range was checked.
        unsafe try pointer(address, length).storeBytes(of: value, as: Value.self)
        markDirty(address, length)
    }

    /// Copies bytes out of guest memory.
    package func read(at address: UInt64, into bytes: inout MutableSpan<UInt8>) throws(GuestMemoryError) {
        guard !bytes.isEmpty else { return }
        let source = unsafe try pointer(address, UInt64(bytes.count))
        // SAFETY: the source range was checked, the destination is exclusively the caller's.
        unsafe bytes.withUnsafeMutableBytes { unsafe $0.copyMemory(from: .init(start: source, count: $0.count)) }
    }

    /// Copies `count` bytes out of guest memory into a new array.
    package func bytes(at address: UInt64, count: Int) throws(GuestMemoryError) -> [UInt8] {
        guard count > 0 else { return [] }
        let source = unsafe try pointer(address, UInt64(count))
        // SAFETY: the range was checked.
        return unsafe [UInt8](UnsafeRawBufferPointer(start: source, count: count))
    }

    /// Copies bytes into guest memory.
    package func write(_ bytes: Span<UInt8>, at address: UInt64) throws(GuestMemoryError) {
        guard !bytes.isEmpty else { return }
        let target = unsafe try pointer(address, UInt64(bytes.count))
        // SAFETY: the target range was checked; the span cannot overlap guest memory.
        unsafe bytes.withUnsafeBytes { source in
            guard let base = source.baseAddress else { return }
            unsafe target.copyMemory(from: base, byteCount: source.count)
        }
        markDirty(address, UInt64(bytes.count))
    }

    /// Copies an array's bytes into guest memory.
    package func write(_ bytes: [UInt8], at address: UInt64) throws(GuestMemoryError) {
        try write(bytes.span, at: address)
    }

    /// Sets a range to zero.
    package func zero(at address: UInt64, count: UInt64) throws(GuestMemoryError) {
        guard count > 0 else { return }
        // SAFETY: the range was checked.
        unsafe memset(try pointer(address, count), 0, Int(count))
        markDirty(address, count)
    }

    /// Reads part of a file straight into guest memory.
    ///
    /// - Parameters:
    ///   - offset: where in the file to begin, in bytes.
    ///   - path: the file's name for the error.
    package func load(
        _ file: borrowing FileDescriptor, offset: UInt64, count: Int, at address: UInt64, path: String
    ) throws(GuestMemoryError) {
        guard count > 0 else { return }
        let target = unsafe try pointer(address, UInt64(count))
        guard let start = Int(exactly: offset) else { throw .shortFile(path: path, wanted: count, got: 0) }
        var done = 0
        while done < count {
            // SAFETY: the target range was checked; `done` stays below its length.
            let got = unsafe pread(file.raw, target + done, count - done, start + done)
            if got == 0 { throw .shortFile(path: path, wanted: count, got: done) }
            if got < 0 {
                let errno = Errno.current
                if errno == .interrupted { continue }
                throw .host(HostError("read", path, errno))
            }
            done += got
        }
        markDirty(address, UInt64(count))
    }

    @unsafe
    private func pointer(_ address: UInt64, _ length: UInt64) throws(GuestMemoryError) -> UnsafeMutableRawPointer {
        guard let pointer = unsafe hostPointer(address, length) else {
            throw .outside(address: address, length: length)
        }
        return unsafe pointer
    }
}
