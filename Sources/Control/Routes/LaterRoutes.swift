extension Route {
    /// Routes of the contract that this version knows and does not serve.
    static let later: [Route] = [
        .later("vm.resize", "vCPUs and memory keep their size while the VM exists"),
        .later("vm.resize-zone", "memory zones"),
        .later("vm.add-device", "VFIO devices"),
        .later("vm.add-user-device", "vfio-user devices"),
        .later("vm.add-fs", "virtio-fs"),
        .later("vm.add-pmem", "virtio-pmem"),
        .later("vm.add-vdpa", "vDPA devices"),
        .later("vm.add-generic-vhost-user", "vhost-user devices"),
        .later("vm.snapshot", "snapshots"),
        .later("vm.restore", "snapshots"),
        .later("vm.send-migration", "live migration"),
        .later("vm.receive-migration", "live migration"),
    ]
}
