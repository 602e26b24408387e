import Foundation
import Host
import Snapshot
import Spec
import TestSupport
import Testing

@testable import Machine

/// The states of all that a machine is made of, as documents have them.
@Suite(.serialized) struct SavedStateTests {
    /// A machine with a device of each sort that needs no network interface.
    private func saved() throws -> TestMachine.Saved {
        let scratch = try ScratchDirectory("states")
        var config = Guests.config()
        config.serial = ConsoleConfig(file: scratch.path("serial"))
        config.console = ConsoleConfig(file: scratch.path("console"))
        config.disks = [DiskConfig(path: try scratch.sparse("disk", bytes: 1 << 20))]
        config.vsock = VsockConfig(cid: 3, socket: scratch.path("vsock"))
        return try Guests.alone {
            let machine = try TestMachine(config, "mode=hang")
            try machine.instance.start()
            defer { machine.end() }
            return try machine.save()
        }
    }

    /// A destination is told the version of all that may come: nothing is a state and not in that list.
    @Test func everyKindOfStateIsTold() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources")
        var names: Set<String> = []
        let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
        for case let file as URL in files where file.pathExtension == "swift" {
            for match in try String(contentsOf: file, encoding: .utf8).matches(of: /struct (\w+): SavedState\b/) {
                names.insert(String(match.output.1))
            }
        }
        #expect(names.count >= 15)
        #expect(Set(MovedState.types.map { "\($0)" }) == names)
        #expect(MovedState.written.count == names.count, "two types have the same kind")
        let document = try saved().document
        for name in document.devices {
            let (kind, version) = try document.kind(of: name)
            #expect(MovedState.written[kind] == version, "\(name)")
        }
    }

    /// Whatever is put in the place of any field, or taken away: the error names the file and the field, in words that
    /// are not the decoder's own.
    @Test func aForgedFieldIsNamed() throws {
        let bytes = try saved().state
        let whole = try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        let sections = try #require(whole["devices"] as? [String: [String: Any]])
        var refusals = 0
        for (name, section) in sections {
            let kind = try #require(section["kind"] as? String)
            let type = try #require(MovedState.types.first { $0.kind == kind }, "\(kind)")
            for (field, forged) in try forgeries(of: #require(section["state"])) {
                var section = section
                section["state"] = forged
                let text = try JSONSerialization.data(withJSONObject: ["format": 1, "devices": [name: section]])
                guard let error = refusal([UInt8](text), name, type) else { continue }
                refusals += 1
                let place = "devices.\(name).state\(field)"
                #expect(error.file == "state.json" && error.field?.hasPrefix(place) == true, "\(place): \(error)")
                for word in Self.decoderWords {
                    #expect(!error.words.contains(word), "\(place): \(error)")
                }
            }
        }
        #expect(refusals > 1000)
    }

    private static let decoderWords = [
        "keyNotFound", "valueNotFound", "typeMismatch", "dataCorrupted", "CodingKey", "Dictionary<", "Array<",
        "Optional", "Expected to decode", "DecodingError", "JSONError", "Context(", "Int", "Bool", "String", "RawBytes",
    ]

    private func refusal(_ text: [UInt8], _ name: String, _ type: any SavedState.Type) -> SnapshotError? {
        func read<State: SavedState>(_ type: State.Type) throws {
            _ = try StateDocument(text, file: "state.json").read(type, of: name)
        }
        do {
            try read(type)
            return nil
        } catch {
            if let error = error as? SnapshotError { return error }
            Issue.record("\(error)")
            return nil
        }
    }

    /// The value with each of its parts replaced by what it cannot be, or gone; with the part's place.
    private func forgeries(of value: Any) -> [(place: String, value: Any)] {
        let nonsense: [Any] = ["?", NSNull(), [String: Any](), [Any](), -1, 1.5, 1e300, true, [NSNull()]]
        var forged: [(place: String, value: Any)] = nonsense.map { ("", $0) }
        if let object = value as? [String: Any] {
            for (key, member) in object {
                var less = object
                less[key] = nil
                forged.append((".\(key)", less))
                for (place, other) in forgeries(of: member) {
                    var changed = object
                    changed[key] = other
                    forged.append((".\(key)\(place)", changed))
                }
            }
        } else if let list = value as? [Any], let first = list.first {
            forged += forgeries(of: first).map { ("[0]\($0.place)", [$0.value] + list.dropFirst()) }
        }
        return forged
    }
}
