import ArgumentParser
import Host
import Spec
import SwiftletClient

/// A verb that adds a device.
protocol AddVerb: ParsableCommand {
    static var kind: RequestFlags { get }
    var vmm: VMMOptions { get }
    var config: String { get }
}

extension AddVerb {
    /// The verb as it is typed.
    static var verb: String { configuration.commandName ?? "add" }

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(vmm)
            var object = try RequestList.object(Self.kind, config, verb: Self.verb)
            // A descriptor's number means nothing in another process: it travels beside the request.
            let descriptors = try RequestList.takeDescriptors(&object, Self.kind == .net ? "fds" : "fd", Self.verb)
            try call.act("vm.\(Self.verb)", object, descriptors: descriptors) { reply, request throws(CtlFailure) in
                if reply.status == 204 { return "added to the VM's configuration" }
                let device = try call.decode(AddedDevice.self, reply, request)
                return "\(device.id) is at \(device.bdf)"
            }
        }
    }
}

/// Option lists of requests.
enum RequestList {
    /// The JSON object of an option list.
    static func object(_ kind: RequestFlags, _ text: String, verb: String) throws(CtlFailure) -> JSONObject {
        do {
            return try kind.object(text, name: verb)
        } catch {
            throw CtlFailure(error)
        }
    }

    /// Takes the numbers of open descriptors out of a request: a number or a list of them.
    static func takeDescriptors(
        _ object: inout JSONObject, _ key: String, _ verb: String
    ) throws(CtlFailure) -> [Int32] {
        let values: [JSONValue]
        switch object[key] {
        case nil: return []
        case .array(let items)?: values = items
        case let value?: values = [value]
        }
        object[key] = nil
        var numbers: [Int32] = []
        for value in values {
            guard case .number(let number) = value, let descriptor = number.integer(Int32.self), descriptor >= 0 else {
                throw CtlFailure.usage("\(verb): key 'fd': a descriptor's number is 0 or more and fits 31 bits")
            }
            guard OpenDescriptor.exists(descriptor) else {
                throw CtlFailure.usage(
                    "\(verb): key 'fd': descriptor \(descriptor) is not open; hand it down to swiftlet")
            }
            numbers.append(descriptor)
        }
        return numbers
    }
}

struct AddDiskVerb: AddVerb {
    static let configuration = CommandConfiguration(commandName: "add-disk", abstract: "Add a disk.")
    static let kind = RequestFlags.disk
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "path=IMAGE,readonly=on,image_type=raw,direct=on,num_queues=N,serial=TEXT,id=ID")
    var config: String
}

struct AddNetVerb: AddVerb {
    static let configuration = CommandConfiguration(
        commandName: "add-net", abstract: "Add a network card.",
        discussion: "fd=[N,N] hands open tap queues of this process over.")
    static let kind = RequestFlags.net
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "tap=NAME,mac=XX:XX:XX:XX:XX:XX,mtu=N,num_queues=N,fd=[N,N],id=ID")
    var config: String
}

struct AddVsockVerb: AddVerb {
    static let configuration = CommandConfiguration(commandName: "add-vsock", abstract: "Add a vsock device.")
    static let kind = RequestFlags.vsock
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "cid=N,socket=PATH,id=ID")
    var config: String
}

struct AddFsVerb: AddVerb {
    static let configuration = CommandConfiguration(commandName: "add-fs", abstract: "Add a shared file system.")
    static let kind = RequestFlags.fs
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "tag=NAME,socket=PATH,num_queues=N,queue_size=N,id=ID")
    var config: String
}

struct AddPmemVerb: AddVerb {
    static let configuration = CommandConfiguration(commandName: "add-pmem", abstract: "Add persistent memory.")
    static let kind = RequestFlags.pmem
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "file=PATH,size=SIZE,discard_writes=on,id=ID")
    var config: String
}

struct AddDeviceVerb: AddVerb {
    static let configuration = CommandConfiguration(
        commandName: "add-device", abstract: "Add a device of the host (VFIO).")
    static let kind = RequestFlags.device
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "path=/sys/bus/pci/devices/BDF,iommu=on,fd=N,id=ID")
    var config: String
}

struct AddUserDeviceVerb: AddVerb {
    static let configuration = CommandConfiguration(
        commandName: "add-user-device", abstract: "Add a device that another process serves (vfio-user).")
    static let kind = RequestFlags.userDevice
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "socket=PATH,id=ID")
    var config: String
}

struct AddVdpaVerb: AddVerb {
    static let configuration = CommandConfiguration(commandName: "add-vdpa", abstract: "Add a vDPA device.")
    static let kind = RequestFlags.vdpa
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "path=/dev/vhost-vdpa-N,num_queues=N,iommu=on,id=ID")
    var config: String
}

struct RemoveDeviceVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "remove-device", abstract: "Remove a device.",
        discussion: "On a running VM the guest has to let go of it; watch shows device-removed when it has.")
    static let route = "vm.remove-device"
    @OptionGroup var vmm: VMMOptions
    @Argument(help: "The device's id, as info shows it.") var id: String

    func body() throws(CtlFailure) -> JSONObject? {
        var body = JSONObject()
        body["id"] = .string(id)
        return body
    }
}
