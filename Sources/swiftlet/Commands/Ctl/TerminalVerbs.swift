import ArgumentParser
import SwiftletClient

struct ConsoleVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "console", abstract: "Attach to the guest's console.", discussion: TerminalSession.help)
    @OptionGroup var vmm: VMMOptions

    func run() throws { try TerminalSession.run(vmm, "vm.console", "the console") }
}

struct SerialVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serial", abstract: "Attach to the guest's serial port.", discussion: TerminalSession.help)
    @OptionGroup var vmm: VMMOptions

    func run() throws { try TerminalSession.run(vmm, "vm.serial", "the serial port") }
}

/// Takes the keys that are the user's from what goes to the guest.
struct EscapeKeys {
    private var isPending = false

    /// What goes to the guest, and whether the user detaches: Ctrl-A d does, Ctrl-A Ctrl-A is one Ctrl-A, and Ctrl-A
    /// before another key is itself.
    mutating func take(_ bytes: some Sequence<UInt8>) -> (bytes: [UInt8], detaches: Bool) {
        var output: [UInt8] = []
        for byte in bytes {
            if isPending {
                isPending = false
                if byte == UInt8(ascii: "d") { return (output, true) }
                output.append(1)
                if byte != 1 { output.append(byte) }
            } else if byte == 1 {
                isPending = true
            } else {
                output.append(byte)
            }
        }
        return (output, false)
    }
}
