import Foundation
import Testing

@testable import Spec

/// The reference in the documentation names what people can write.
@Suite struct ReferenceTests {
    private static func reference() throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try String(
            contentsOf: root.appending(path: "Sources/swiftlet/swiftlet.docc/SpecReference.md"), encoding: .utf8)
    }

    @Test func namesEveryField() throws {
        let words = Set(try Self.reference().split { !($0.isLetter || $0.isNumber || $0 == "_") }.map(String.init))
        let fields = FlagSyntax.all.flatMap { $0.keys.map(\.field) + [$0.section] }
        // Limits and consoles' modes are described as groups.
        let groups = ["bw_", "ops_"]
        let modes = Set(ConsoleMode.allCases.map { $0.rawValue.lowercased() })
        for field in fields where !groups.contains(where: field.hasPrefix) && !modes.contains(field) {
            #expect(words.contains(field), "SpecReference.md does not name \(field)")
        }
        for mode in ConsoleMode.allCases { #expect(words.contains(mode.rawValue)) }
    }

    @Test func namesEverySection() throws {
        let text = try Self.reference()
        // The message about an unknown name lists all there are.
        let allowed = try #require(issues(#"{"zzz":1}"#).first?.split(separator: "allowed: ").last)
        for name in allowed.split(separator: ", ") { #expect(text.contains("\(name)"), "\(name)") }
    }

    @Test func hasOnlyExamplesThatWork() throws {
        let guide = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources/swiftlet/swiftlet.docc/GettingStarted.md")
        let parts = try String(contentsOf: guide, encoding: .utf8).components(separatedBy: "```")
        let examples = parts.filter { $0.hasPrefix("json\n") }.map { $0.dropFirst(5) }
        #expect(examples.count == 1)
        for example in examples { #expect(issues(String(example)) == []) }
    }
}
