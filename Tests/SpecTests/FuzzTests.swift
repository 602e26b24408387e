import Testing

@testable import Spec

/// Bytes from outside never end the process, whatever they are.
@Suite struct FuzzTests {
    /// Whether the bytes are taken; a taken configuration has to come back from its own JSON.
    private func take(_ bytes: [UInt8], _ mode: ReadingMode) throws -> Bool {
        do {
            let config = try VMConfig.parse(bytes, mode: mode).config
            #expect(try VMConfig.parse(Array(config.json.text().utf8)).config == config)
            return true
        } catch {
            #expect(!error.issues.isEmpty && !error.issues.contains { $0.description.contains("\n") })
            return false
        }
    }

    @Test func survivesRandomBytes() throws {
        var random = SeededGenerator(state: 1)
        let alphabet = Array("{}[]\",:0123456789.-+eEtrufalsn\\ \n".utf8)
        for round in 0..<4000 {
            let count = Int.random(in: 1..<64, using: &random)
            let bytes = (0..<count).map { _ in
                round % 2 == 0
                    ? UInt8.random(in: 0...255, using: &random)
                    : alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
            }
            _ = try take(bytes, round % 3 == 0 ? .lenient : .strict)
        }
    }

    @Test func survivesDamagedConfigurations() throws {
        var random = SeededGenerator(state: 2)
        let whole = Array(AcceptanceTests.everything.utf8)
        let pieces = [
            "-1", "1e400", "18446744073709551616", "1.5", "null", "{}", "[]", "\"\"", "\u{0}", "true", "\\ud800",
        ]
        var taken = 0
        for round in 0..<4000 {
            var bytes = whole
            for _ in 0...Int.random(in: 0..<3, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: place)
                case 2: bytes[place] ^= 1
                default:
                    let piece = pieces[Int.random(in: 0..<pieces.count, using: &random)]
                    let end = min(place + Int.random(in: 0..<8, using: &random), bytes.count)
                    bytes.replaceSubrange(place..<end, with: Array(piece.utf8))
                }
            }
            if try take(bytes, round % 2 == 0 ? .lenient : .strict) { taken += 1 }
        }
        #expect(taken > 0 && taken < 4000)
    }

    @Test func survivesEveryValueInEveryPlace() throws {
        let values = ["-1", "1e400", "18446744073709551616", "1.5", "\"x\"", "{}", "[{}]", "[[]]", "true", "0"]
        let whole = try JSONValue.parse(Array(AcceptanceTests.everything.utf8))
        for value in values {
            let replacement = try JSONValue.parse(Array(value.utf8))
            for variant in Self.variants(of: whole, replacement) { _ = try take(Array(variant.text().utf8), .strict) }
        }
    }

    /// The value with each of its parts replaced in turn.
    private static func variants(of value: JSONValue, _ replacement: JSONValue) -> [JSONValue] {
        var variants = [replacement]
        switch value {
        case .object(let object):
            for key in object.keys {
                for variant in Self.variants(of: object[key] ?? .null, replacement) {
                    var changed = object
                    changed[key] = variant
                    variants.append(.object(changed))
                }
            }
        case .array(let items):
            for index in items.indices {
                for variant in Self.variants(of: items[index], replacement) {
                    var changed = items
                    changed[index] = variant
                    variants.append(.array(changed))
                }
            }
        default: break
        }
        return variants
    }

    @Test func survivesRandomFlags() {
        var random = SeededGenerator(state: 3)
        let words = [
            "path", "=", ",", "\"", "[", "]", "@", "0", "-", "99999999999999999999", "G", "boot", "topology", ":",
            "affinity",
            "size", "file", "tty", "é", "\0", " ", "iobase", "0x", "fffff", "bw_size",
        ]
        for _ in 0..<4000 {
            let text = (0..<Int.random(in: 0..<10, using: &random))
                .map { _ in words[Int.random(in: 0..<words.count, using: &random)] }.joined()
            let found = issues {
                $0.cpus = text
                $0.memory = text
                $0.disks = [text]
                $0.net = [text]
                $0.console = text
                $0.debugConsole = text
            }
            #expect(!found.contains { $0.contains("\n") })
        }
    }
}
