// Devices and sizes.
//
// The methods that add a device answer what the guest got, or nil when the VM is not booted and the device was added to
// its configuration.

extension VMMClient {
    /// Adds a disk: `path`, `readonly`, `image_type`, `id`, …
    @discardableResult
    public func addDisk(_ config: JSON) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-disk", config)
    }

    /// Adds a network card: `tap`, `mac`, `mtu`, `id`, …
    ///
    /// - Parameter descriptors: open tap queues in place of `tap`; they stay the caller's to close.
    @discardableResult
    public func addNet(_ config: JSON, descriptors: [Int32] = []) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-net", config, descriptors)
    }

    /// Adds a vsock device: `cid`, `socket`, `id`.
    @discardableResult
    public func addVsock(_ config: JSON) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-vsock", config)
    }

    /// Adds a device of the host (VFIO): `path`, `id`, …
    ///
    /// - Parameter descriptors: the open device in place of `path`; it stays the caller's to close.
    @discardableResult
    public func addDevice(_ config: JSON, descriptors: [Int32] = []) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-device", config, descriptors)
    }

    /// Adds a shared file system: `tag`, `socket`, `id`, …
    @discardableResult
    public func addFs(_ config: JSON) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-fs", config)
    }

    /// Adds persistent memory: `file`, `size`, `id`, …
    @discardableResult
    public func addPmem(_ config: JSON) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-pmem", config)
    }

    /// Adds a device that another process serves (vfio-user): `socket`, `id`.
    @discardableResult
    public func addUserDevice(_ config: JSON) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-user-device", config)
    }

    /// Adds a vDPA device: `path`, `id`, …
    @discardableResult
    public func addVdpa(_ config: JSON) async throws(VMMClientError) -> AddedDevice? {
        try await add("vm.add-vdpa", config)
    }

    /// Removes a device. The call ends before the guest has let go; the event `device-removed` tells when it has.
    public func removeDevice(id: String) async throws(VMMClientError) {
        try await act("vm.remove-device", ["id": id], timeout: timeout)
    }

    /// Changes the number of vCPUs, the memory in bytes, or the balloon in bytes; nil leaves it as it is.
    public func resize(
        vcpus: UInt32? = nil, memory: UInt64? = nil, balloon: UInt64? = nil
    ) async throws(VMMClientError) {
        var fields: [String: JSON] = [:]
        fields["desired_vcpus"] = vcpus.map { JSON($0) }
        fields["desired_ram"] = memory.map { JSON($0) }
        fields["desired_balloon"] = balloon.map { JSON($0) }
        try await act("vm.resize", JSON.object(fields), timeout: timeout)
    }

    /// Changes a disk's size, in bytes.
    public func resizeDisk(id: String, size: UInt64) async throws(VMMClientError) {
        try await act("vm.resize-disk", JSON.object(["id": .string(id), "desired_size": JSON(size)]), timeout: timeout)
    }

    /// Changes a memory zone's size, in bytes.
    public func resizeZone(id: String, size: UInt64) async throws(VMMClientError) {
        try await act("vm.resize-zone", JSON.object(["id": .string(id), "desired_ram": JSON(size)]), timeout: timeout)
    }

    private func add(
        _ route: String, _ config: JSON, _ descriptors: [Int32] = []
    ) async throws(VMMClientError) -> AddedDevice? {
        let reply = try await act(route, config, descriptors: descriptors, timeout: timeout)
        if reply.status == 204 { return nil }
        return try BlockingCall.decode(
            AddedDevice.self, reply.body, operation: "PUT /api/v1/\(route)", socketPath: socketPath)
    }
}
