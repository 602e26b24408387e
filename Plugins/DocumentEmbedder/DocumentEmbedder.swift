import Foundation
import PackagePlugin

/// Hands a target the JSON documents in its folder as Swift source files, so that the executable needs no file beside
/// it: `OpenAPI/openapi.json` becomes `enum OpenapiText`, whose `text` is the document to the byte.
///
/// A string literal, as the compiler takes minutes for an array literal of that length.
@main
struct DocumentEmbedder: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: Target) throws -> [Command] {
        let script = context.package.directoryURL.appending(path: "Plugins/DocumentEmbedder/embed.sh")
        let folder = target.directoryURL
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
        let documents = (files?.compactMap { $0 as? URL } ?? []).filter { $0.pathExtension == "json" }
        return documents.sorted { $0.path < $1.path }.map { document in
            let name = document.deletingPathExtension().lastPathComponent.capitalized + "Text"
            let output = context.pluginWorkDirectoryURL.appending(path: "\(name).swift")
            return .buildCommand(
                displayName: "Embedding \(document.lastPathComponent)",
                executable: URL(filePath: "/bin/sh"),
                arguments: [script.path, document.path, name, output.path],
                inputFiles: [document, script],
                outputFiles: [output])
        }
    }
}
