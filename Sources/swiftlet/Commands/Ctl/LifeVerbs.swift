import ArgumentParser
import Host
import Spec
import SwiftletClient

/// A verb that has the VMM do something, by one request.
protocol ActionVerb: ParsableCommand {
    /// The route behind `/api/v1/`.
    static var route: String { get }
    var vmm: VMMOptions { get }
    /// The request's body; nil for none, as it is unless the verb has arguments.
    func body() throws(CtlFailure) -> JSONObject?
}

extension ActionVerb {
    func body() throws(CtlFailure) -> JSONObject? { nil }

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let body = try body()
            try CtlCall(vmm).act(Self.route, body)
        }
    }
}

struct BootVerb: ActionVerb {
    static let configuration = CommandConfiguration(commandName: "boot", abstract: "Start the VM that was created.")
    static let route = "vm.boot"
    @OptionGroup var vmm: VMMOptions
}

struct PauseVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Let the vCPUs and the guest's clock stand still.")
    static let route = "vm.pause"
    @OptionGroup var vmm: VMMOptions
}

struct ResumeVerb: ActionVerb {
    static let configuration = CommandConfiguration(commandName: "resume", abstract: "Let a paused VM go on.")
    static let route = "vm.resume"
    @OptionGroup var vmm: VMMOptions
}

struct PowerButtonVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "power-button", abstract: "Press the guest's power button.")
    static let route = "vm.power-button"
    @OptionGroup var vmm: VMMOptions
}

struct RebootVerb: ActionVerb {
    static let configuration = CommandConfiguration(commandName: "reboot", abstract: "Start the VM anew.")
    static let route = "vm.reboot"
    @OptionGroup var vmm: VMMOptions
}

struct ShutdownVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "shutdown", abstract: "End the VM and keep its configuration.",
        discussion: "The guest is not asked: power-button does that.")
    static let route = "vm.shutdown"
    @OptionGroup var vmm: VMMOptions
}

struct DeleteVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "End the VM and forget its configuration.")
    static let route = "vm.delete"
    @OptionGroup var vmm: VMMOptions
}

struct NMIVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "nmi", abstract: "Send every vCPU a non-maskable interrupt.")
    static let route = "vm.nmi"
    @OptionGroup var vmm: VMMOptions
}

struct ShutdownVMMVerb: ActionVerb {
    static let configuration = CommandConfiguration(
        commandName: "shutdown-vmm", abstract: "End the VMM and its VM.")
    static let route = "vmm.shutdown"
    @OptionGroup var vmm: VMMOptions
}

struct CreateVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Configure the VM from a JSON file; boot starts it.",
        discussion: "The file is Cloud Hypervisor's VmConfig: what swiftlet run boots, and swiftlet check validates.")

    @OptionGroup var vmm: VMMOptions

    @Argument(help: "The file, or - for standard input.", completion: .file(extensions: ["json"]))
    var path = "-"

    func run() throws {
        try CtlFailure.report { () throws(CtlFailure) in
            let call = try CtlCall(vmm)
            _ = try call.perform(WireRequest("PUT", "vm.create", body: try Self.read(path)))
        }
    }

    /// The bytes of a file, or of standard input.
    static func read(_ path: String) throws(CtlFailure) -> [UInt8] {
        do throws(HostError) {
            return try SpecFile.load(path)
        } catch {
            let name = path == "-" ? "standard input" : path
            throw CtlFailure(["\(name): cannot be read: \(error.errno)"], status: ExitStatus.badSpec)
        }
    }
}
