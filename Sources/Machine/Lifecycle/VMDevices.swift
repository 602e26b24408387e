import Host
import Spec

/// Devices that come and go, on the control thread.
extension VMM {
    func add(_ parsed: Parsed<DiskConfig>) throws -> VMReply {
        guard let vm else { throw VMError.notCreated }
        var (disk, names) = (parsed.config, vm.names)
        disk.id = disk.id ?? names.next("_disk")
        return try change(vm, names, "disks", vm.config.disks.count) { $0.disks.append(disk) }
    }

    func add(_ parsed: Parsed<NetConfig>, _ descriptors: ReceivedDescriptors) throws -> VMReply {
        guard let vm else { throw VMError.notCreated }
        var (net, names) = (parsed.config, vm.names)
        net.id = net.id ?? names.next("_net")
        net.mac = net.mac ?? .random()
        return try change(vm, names, "net", vm.config.net.count) { $0.net.append(net) }
    }

    /// Adds a device to the configuration of a VM and plans its machine with it; on a failure all stays as it was.
    ///
    /// - Parameters:
    ///   - section: the list that the device joins, and its place there: what the client sent has neither.
    private func change(
        _ vm: CreatedVM, _ names: DeviceNames, _ section: String, _ index: Int, _ body: (inout VMConfig) -> Void
    ) throws -> VMReply {
        guard vm.instance == nil else {
            throw VMError(.unsupported, ["adding devices to a running VM is not supported by this version"])
        }
        var config = vm.config
        body(&config)
        var names = names
        names.reserve(config.ids)
        do {
            try config.validate()
            vm.plan = try MachinePlanner().plan(config)
        } catch let error as SpecError {
            throw VMError(error).replacing("$.\(section)[\(index)]", by: "$")
        } catch let error as MachineError {
            throw VMError(error).replacing("$.\(section)[\(index)]", by: "$")
        }
        (vm.config, vm.names) = (config, names)
        publish()
        return .done
    }

    func removeDevice(_ id: String) throws {
        guard let vm else { throw VMError.notCreated }
        guard vm.instance == nil else {
            throw VMError(.unsupported, ["removing devices from a running VM is not supported by this version"])
        }
        var config = vm.config
        guard config.removeDevice(id) else {
            throw VMError(.notFound, ["There is no device \(id) that can be removed"])
        }
        vm.plan = try MachinePlanner().plan(config)
        vm.config = config
        publish()
    }

    func resizeDisk(_ id: String, to size: UInt64) throws {
        let instance = try running()
        _ = instance
        throw VMError(.unsupported, ["resizing disks is not supported by this version"])
    }
}

extension VMError {
    /// The same with another place at the start of its lines: the client's own.
    fileprivate func replacing(_ prefix: String, by other: String) -> VMError {
        VMError(kind, chain.map { $0.hasPrefix(prefix) ? other + $0.dropFirst(prefix.count) : $0 })
    }
}
