import Machine
import Spec

extension Route {
    /// Devices that come and go.
    static let devices: [Route] = [
        .command("vm.add-disk") { request, context throws(SpecError) in
            try DiskConfig.parse(request.body, bootVCPUs: context.bootVCPUs)
        } _: { parsed, _ in
            .addDisk(parsed)
        },
        .command("vm.add-net") { request, context throws(SpecError) in
            try NetConfig.parse(request.body, bootVCPUs: context.bootVCPUs)
        } _: { parsed, request in
            .addNet(parsed, request.descriptors)
        },
        .command("vm.add-vsock") { request, _ throws(SpecError) in
            try VsockConfig.parse(request.body)
        } _: { parsed, _ in
            .addVsock(parsed)
        },
        .command("vm.remove-device") { request, _ throws(SpecError) in
            try RemoveDeviceRequest.parse(request.body)
        } _: { parsed, _ in
            .removeDevice(id: parsed.config.id)
        },
        .command("vm.resize-disk") { request, _ throws(SpecError) in
            try ResizeDiskRequest.parse(request.body)
        } _: { parsed, _ in
            .resizeDisk(id: parsed.config.id, size: parsed.config.size)
        },
    ]
}

extension APIContext {
    /// The VM's vCPUs, which bound a device's queues; without a VM the request is refused later, for that.
    fileprivate var bootVCPUs: UInt32 { vm.status.info?.config.cpus.bootVCPUs ?? Limits.vcpus.upperBound }
}
