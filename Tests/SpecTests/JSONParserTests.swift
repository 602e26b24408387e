import Testing

@testable import Spec

@Suite struct JSONParserTests {
    private func failure(_ bytes: [UInt8]) -> String {
        do {
            return "accepted as \(try JSONParser.parse(bytes).text())"
        } catch {
            return error.description
        }
    }

    @Test func readsEveryKindOfValue() throws {
        let text = #" { "a" : [ null , true , false , -1.5e+3 , "\u00e9\ud83d\ude00\/\n\"" ] , "b" : { } } "#
        let value = try JSONParser.parse(Array(text.utf8))
        #expect(value.text() == "{\"a\":[null,true,false,-1.5e+3,\"é😀/\\n\\\"\"],\"b\":{}}")
        #expect(try JSONParser.parse(Array(value.text(.indented).utf8)) == value)
        #expect(value.text(.indented).hasPrefix("{\n  \"a\": [\n    null,\n"))
    }

    @Test func keepsTheTextAndTheMeaningOfNumbers() throws {
        func number(_ text: String) throws -> JSONNumber? {
            if case .number(let number) = try JSONParser.parse(Array(text.utf8)) { number } else { nil }
        }
        #expect(try number("18446744073709551615")?.integer(UInt64.self) == UInt64.max)
        #expect(try number("18446744073709551616")?.integer(UInt64.self) == nil)
        #expect(try number("18446744073709551616")?.text == "18446744073709551616")
        #expect(try number("-9223372036854775808")?.integer(Int64.self) == Int64.min)
        #expect(try number("1.5")?.double == 1.5)
        #expect(try number("1.5")?.integer(Int.self) == nil)
        #expect(try number("1e3")?.integer(Int.self) == nil)
        #expect(try number("1e400")?.double == nil)
    }

    @Test(arguments: [
        ("", "line 1, column 1: there is no value; give an object like {}"),
        (" \n ", "line 2, column 2: there is no value; give an object like {}"),
        ("{\"a\":1} x", "line 1, column 9: found 'x' after the end of the value; remove it"),
        ("{\"a\":1", "line 1, column 7: expected ',' or '}', found the end of the text"),
        ("{\"a\":1,}", "line 1, column 8: expected a key in quotation marks, found '}'"),
        ("[1,]", "line 1, column 4: expected a value, found ']'"),
        ("[1 2]", "line 1, column 4: expected ',' or ']', found '2'"),
        ("{\"a\" 1}", "line 1, column 6: expected ':' after key \"a\", found '1'"),
        ("{'a':1}", "line 1, column 2: expected a key in quotation marks, found '''"),
        ("{\n  \"é\": nope}", "line 2, column 8: expected a value, found 'n'; a text goes into quotation marks"),
        ("{\"a\":1,\n\"\\u0061\":2}", "line 2, column 1: key \"a\" appears twice in one object; keep one"),
        ("01", "line 1, column 1: a number must not start with 0"),
        ("-", "line 1, column 2: expected a digit, found the end of the text"),
        ("1.", "line 1, column 3: expected a digit after '.', found the end of the text"),
        ("1e+", "line 1, column 4: expected a digit in the exponent, found the end of the text"),
        ("+1", "line 1, column 1: expected a value, found '+'"),
        ("\"a", "line 1, column 1: this text has no closing quotation mark"),
        ("\"a\tb\"", "line 1, column 3: a control character in a text must be escaped, found byte 0x09"),
        ("\"\\x\"", "line 1, column 2: unknown escape in a text; write a backslash as \\\\"),
        ("\"\\u12g4\"", "line 1, column 2: \\u needs four hexadecimal digits"),
        ("\"\\ud800\"", "line 1, column 2: half of a surrogate pair in a text"),
        ("\"\\udc00\\ud800\"", "line 1, column 2: half of a surrogate pair in a text"),
        ("\"\\", "line 1, column 2: unknown escape in a text; write a backslash as \\\\"),
        ("\u{feff}{}", "line 1, column 1: the text starts with a byte order mark; save it as UTF-8 without one"),
        ("{}\0", "line 1, column 3: found byte 0x00 after the end of the value; remove it"),
    ])
    func refusesWhatIsNotJSON(text: String, message: String) {
        #expect(failure(Array(text.utf8)) == "$: not valid JSON at " + message)
    }

    @Test func refusesTextThatIsNotUTF8() {
        #expect(
            failure([0x22, 0xff, 0x22])
                == "$: not valid JSON at line 1, column 1: this text is not UTF-8; save the file as UTF-8")
        #expect(failure([0xff, 0x7b]) == "$: not valid JSON at line 1, column 1: expected a value, found byte 0xff")
        #expect(failure([0x7b, 0, 0x7d, 0]).hasSuffix("expected a key in quotation marks, found byte 0x00"))
    }

    @Test func boundsTheDepth() {
        let fits = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
        #expect(failure(Array(fits.utf8)) == "accepted as " + fits)
        let message = "$: not valid JSON at line 1, column 129: nested deeper than 128 levels"
        #expect(failure([UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)) == message)
        let objects = String(repeating: "{\"a\":", count: 1000)
        #expect(failure(Array(objects.utf8)).hasSuffix("nested deeper than 128 levels"))
    }
}
