import CLinux
import Host
import Virtio

extension BlockDevice {
    /// Changes the disk's size and tells the guest, whose driver takes the new size over by itself.
    ///
    /// A regular file is made longer or shorter. A block device, and an image that is only read, has the size that it
    /// has; where its owner changed that, this makes it known to the guest. Requests that the device has accepted are
    /// done before a file becomes shorter; later ones beyond its end fail.
    ///
    /// - Parameters:
    ///   - bytes: the new size, a multiple of the disk's logical blocks.
    ///   - transport: the function that this device is behind. No other thread pauses it meanwhile.
    /// - Throws: when the size cannot be, or the host refuses; the disk stays as it was then.
    package func resize(to bytes: UInt64, _ transport: PCITransport) throws(DiskError) {
        let block = UInt64(image.geometry.logicalBlockSize)
        guard bytes >= block, bytes % block == 0, bytes <= UInt64(Int64.max) else {
            throw DiskError(
                image.options, "cannot have \(bytes) bytes",
                remedy: "name a multiple of its blocks of \(block) bytes")
        }
        let before = image.size
        try image.resize(to: bytes) {
            // What was accepted by the old size is done when the workers have ended.
            if transport.pause() { transport.resume() }
        }
        if bytes != before { transport.configurationChanged() }
    }
}

extension DiskImage {
    /// Makes the image as long as the guest is to see it.
    ///
    /// - Parameter drain: returns when the requests are done that were accepted before.
    func resize(to bytes: UInt64, drain: () -> Void) throws(DiskError) {
        if isBlockDevice || options.readOnly {
            let actual = try length()
            guard actual / Self.sectorSize * Self.sectorSize == bytes else {
                throw DiskError(
                    options, "is \(isBlockDevice ? "a block device" : "read-only") and has \(actual) bytes",
                    remedy: "change its size on the host first, then name that size")
            }
            currentSize.store(bytes, ordering: .releasing)
            return
        }
        let before = size
        if bytes < before {
            // From here on nothing beyond the new end is accepted.
            currentSize.store(bytes, ordering: .releasing)
            drain()
        }
        guard ftruncate(file.raw, Int(bytes)) == 0 else {
            let errno = Errno.current
            currentSize.store(before, ordering: .releasing)
            throw DiskError(options, "cannot get \(bytes) bytes: \(errno)")
        }
        currentSize.store(bytes, ordering: .releasing)
    }

    private func length() throws(DiskError) -> UInt64 {
        if isBlockDevice { return try DiskGeometry.deviceSize(file, options) }
        do throws(HostError) { return UInt64(max(try file.status().size, 0)) } catch {
            throw DiskError(options, "\(error)")
        }
    }
}
