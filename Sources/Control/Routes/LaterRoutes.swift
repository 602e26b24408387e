extension Route {
    /// Routes of the contract that this version knows and does not serve.
    static let later: [Route] = [
        .later("vm.resize", "resizing is missing: vCPUs, memory and balloon stay as they were created"),
        .later("vm.resize-zone", "memory zones are missing"),
        .later("vm.add-device", "VFIO devices are missing"),
        .later("vm.add-user-device", "vfio-user devices are missing"),
        .later("vm.add-fs", "virtio-fs devices are missing"),
        .later("vm.add-pmem", "virtio-pmem devices are missing"),
        .later("vm.add-vdpa", "vDPA devices are missing"),
        .later("vm.add-generic-vhost-user", "vhost-user devices are missing"),
    ]
}
