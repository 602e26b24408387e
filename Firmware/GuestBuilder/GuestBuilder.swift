import Foundation
import PackagePlugin

/// Builds the self-test guest of `Firmware/SelfTest` with the running toolchain and hands its bytes to the target as
/// a Swift source file. The command runs again when one of the guest's sources, or the script, changes.
@main
struct GuestBuilder: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: Target) throws -> [Command] {
        let sources = context.package.directoryURL.appending(path: "Firmware/SelfTest")
        let script = sources.appending(path: "build.sh")
        let output = context.pluginWorkDirectoryURL.appending(path: "SelfTestBytes.swift")
        let inputs = try FileManager.default.contentsOfDirectory(at: sources, includingPropertiesForKeys: nil)
            .filter { ["swift", "S", "ld", "sh"].contains($0.pathExtension) }
            .sorted { $0.path < $1.path }
        return [
            .buildCommand(
                displayName: "Building the self-test guest",
                executable: URL(filePath: "/bin/sh"),
                arguments: [
                    script.path, try context.tool(named: "swiftc").url.path, sources.path,
                    context.pluginWorkDirectoryURL.appending(path: "guest").path, output.path,
                ],
                inputFiles: inputs,
                outputFiles: [output])
        ]
    }
}
