/// The guest that is booted when a configuration names no payload.
package struct SelfTestGuest: Sendable {
    /// Makes the ELF image's bytes.
    let image: @Sendable () -> [UInt8]
    /// What it is to do.
    let commandLine: String

    package init(commandLine: String = "", image: @escaping @Sendable () -> [UInt8]) {
        (self.image, self.commandLine) = (image, commandLine)
    }
}
