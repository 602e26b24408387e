import Foundation
import TestSupport
import Testing

/// Devices that come and go over the API, and what the process holds on to.
@Suite(.timeLimit(.minutes(15))) struct HotPlugTests {
    @Test func devicesThatCameAndWentLeaveNothing() throws {
        let vmm = try TestVMM()
        let kernel = try vmm.scratch.write("kernel", TinyKernel.ejector.elf)
        let disk = try vmm.scratch.sparse("disk", bytes: 1 << 20)
        try vmm.put("vm.create", vmm.config(#""payload":{"kernel":"\#(kernel)"}"#))
        try vmm.put("vm.boot")
        func round() throws {
            try vmm.expect(200, "PUT", "vm.add-disk", #"{"id":"d","path":"\#(disk)","image_type":"Raw"}"#)
            try vmm.expect(200, "PUT", "vm.add-vsock", #"{"id":"v","cid":3,"socket":"\#(vmm.scratch.path("vsock"))"}"#)
            for id in ["d", "v"] {
                #expect(vmm.devices.contains(id))
                try vmm.put("vm.remove-device", #"{"id":"\#(id)"}"#)
                #expect(Deadline.seconds(10).wait { !vmm.devices.contains(id) }, "\(vmm.evidence)")
            }
            // Neither may one that cannot come leave anything.
            let missing = vmm.scratch.path("none")
            try vmm.expect(400, "PUT", "vm.add-disk", #"{"path":"\#(missing)","image_type":"Raw"}"#)
        }
        try round()
        let (descriptors, threads) = (vmm.descriptors, vmm.threads.count)
        #expect(descriptors > 10 && threads >= 2)
        for _ in 1...10 { try round() }
        #expect(Deadline.seconds(5).wait { vmm.descriptors <= descriptors }, "\(descriptors), \(vmm.descriptors)")
        #expect(Deadline.seconds(5).wait { vmm.threads.count <= threads }, "\(threads), then \(vmm.threads)")
    }
}

extension TestVMM {
    /// The ids of the devices that the guest has.
    fileprivate var devices: [String] { (try? curl("GET", "vm.info").json.device_tree.keys) ?? [] }
}
