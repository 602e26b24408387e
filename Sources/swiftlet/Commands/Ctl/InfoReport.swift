import Spec
import SwiftletClient

/// A VM in words.
enum InfoReport {
    /// The state and the machine, then a table of the devices.
    static func text(_ info: VMInfo) -> String {
        let config = info.config
        var machine = Table()
        machine.add("state", info.state.rawValue)
        let (now, most) = (config.cpus.bootVCPUs, config.cpus.maxVCPUs)
        machine.add("vcpus", most > now ? "\(now), at most \(most)" : "\(now)")
        let flags = [
            config.memory.shared == true ? "shared" : nil, config.memory.hugepages == true ? "huge pages" : nil,
        ]
        let size = ByteSize.text(info.memoryActualSize ?? config.memory.size)
        machine.add("memory", ([size] + flags.compactMap { $0 }).joined(separator: ", "))
        let payload = [
            ("firmware", config.payload?.firmware), ("kernel", config.payload?.kernel),
            ("initramfs", config.payload?.initramfs), ("cmdline", config.payload?.cmdline),
        ]
        for case (let name, let value?) in payload { machine.add(name, value) }
        if let serial = config.serial { machine.add("serial", terminal(serial)) }
        if let console = config.console { machine.add("console", terminal(console)) }
        let devices = devices(info)
        return devices.isEmpty ? machine.text : machine.text + "\n\n" + devices
    }

    private static func terminal(_ terminal: VMInfo.Terminal) -> String {
        ([terminal.mode] + [terminal.file, terminal.socket].compactMap { $0 }).joined(separator: " ")
    }

    /// What the configuration says of each device.
    private static func details(_ config: VMInfo.Config) -> [(id: String, kind: String, details: String)] {
        var list: [(String, String, String)] = []
        for disk in config.disks ?? [] {
            let format = disk.imageType.flatMap { $0 == "Unknown" ? nil : $0.lowercased() }
            let parts = [disk.path, format, disk.readonly == true ? "read-only" : nil]
            list.append((disk.id ?? "", "disk", parts.compactMap { $0 }.joined(separator: ", ")))
        }
        for net in config.net ?? [] {
            let parts = [net.tap, net.mac, net.mtu.map { "MTU \($0)" }]
            list.append((net.id ?? "", "net", parts.compactMap { $0 }.joined(separator: ", ")))
        }
        if let vsock = config.vsock {
            list.append((vsock.id ?? "", "vsock", "cid \(vsock.cid), \(vsock.socket)"))
        }
        if let console = config.console, console.mode != "Off" {
            list.append((console.id ?? DeviceNames.console, "console", terminal(console)))
        }
        if let rng = config.rng { list.append((rng.id ?? DeviceNames.rng, "rng", rng.src ?? "")) }
        return list
    }

    private static func devices(_ info: VMInfo) -> String {
        var table = Table(["DEVICE", "ADDRESS", "KIND", "DETAILS"])
        let known = details(info.config)
        let tree = info.deviceTree ?? [:]
        func address(_ id: String) -> String {
            guard let device = tree[id] else { return "-" }
            let bdf = device.bdf ?? device.parent.flatMap { tree[$0]?.bdf } ?? "-"
            return device.isRemovalPending == true ? "\(bdf) (leaving)" : bdf
        }
        for device in known { table.add(device.id, address(device.id), device.kind, device.details) }
        // Nodes with something below them are only the way to it.
        let others = tree.values.filter { device in
            (device.children ?? []).isEmpty && !known.contains { $0.id == device.id }
        }
        for device in others.sorted(by: { (address($0.id), $0.id) < (address($1.id), $1.id) }) {
            table.add(device.id, address(device.id), device.kind ?? "", "")
        }
        return known.isEmpty && others.isEmpty ? "" : table.text
    }
}
