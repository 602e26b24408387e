import ArgumentParser
import Spec

/// Sizes on the command line.
private enum Size {
    static func parse(_ text: String, _ option: String) throws(CtlFailure) -> JSONValue {
        guard let bytes = ByteSize.parse(text) else {
            throw CtlFailure.usage("\(option): got \"\(text)\", expected a size in bytes, or with K, M or G, like 512M")
        }
        return .integer(bytes)
    }
}

struct ResizeVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "resize", abstract: "Change the number of vCPUs, the memory, or the balloon.")
    static let route = "vm.resize"
    @OptionGroup var vmm: VMMOptions
    @Option(help: "How many vCPUs.") var cpus: UInt32?
    @Option(help: "The memory: bytes, or with K, M or G.") var memory: String?
    @Option(help: "The balloon: bytes, or with K, M or G.") var balloon: String?

    func body() throws(CtlFailure) -> JSONObject? {
        var body = JSONObject()
        if let cpus { body["desired_vcpus"] = .integer(cpus) }
        if let memory { body["desired_ram"] = try Size.parse(memory, "--memory") }
        if let balloon { body["desired_balloon"] = try Size.parse(balloon, "--balloon") }
        if body.keys.isEmpty {
            throw CtlFailure.usage("resize: nothing to change; give --cpus, --memory or --balloon")
        }
        return body
    }
}

struct ResizeDiskVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "resize-disk", abstract: "Change a disk's size; the guest sees it at once.")
    static let route = "vm.resize-disk"
    @OptionGroup var vmm: VMMOptions
    @Option(help: "The disk's id, as info shows it.") var disk: String
    @Option(help: "The new size: bytes, or with K, M or G.") var size: String

    func body() throws(CtlFailure) -> JSONObject? {
        var body = JSONObject()
        body["id"] = .string(disk)
        body["desired_size"] = try Size.parse(size, "--size")
        return body
    }
}

struct ResizeZoneVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "resize-zone", abstract: "Change the size of a memory zone.")
    static let route = "vm.resize-zone"
    @OptionGroup var vmm: VMMOptions
    @Option(help: "The zone's id.") var id: String
    @Option(help: "The new size: bytes, or with K, M or G.") var size: String

    func body() throws(CtlFailure) -> JSONObject? {
        var body = JSONObject()
        body["id"] = .string(id)
        body["desired_ram"] = try Size.parse(size, "--size")
        return body
    }
}
