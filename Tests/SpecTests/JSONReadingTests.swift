import Testing

@testable import Spec

@Suite struct JSONReadingTests {
    private func failure(_ bytes: [UInt8]) -> String {
        do {
            return "accepted as \(try JSONValue.parse(bytes).text())"
        } catch {
            return error.description
        }
    }

    @Test func readsEveryKindOfValue() throws {
        let text = #" { "a" : [ null , true , false , -1.5e+3 , "\u00e9\ud83d\ude00\/\n\"" ] , "b" : { } } "#
        let value = try JSONValue.parse(Array(text.utf8))
        #expect(value.text() == "{\"a\":[null,true,false,-1500,\"é😀/\\n\\\"\"],\"b\":{}}")
        #expect(try JSONValue.parse(Array(value.text(.indented).utf8)) == value)
        #expect(value.text(.indented).hasPrefix("{\n  \"a\": [\n    null,\n"))
    }

    @Test func keepsTheMeaningOfNumbers() throws {
        func number(_ text: String) throws -> JSONNumber? {
            if case .number(let number) = try JSONValue.parse(Array(text.utf8)) { number } else { nil }
        }
        #expect(try number("18446744073709551615")?.integer(UInt64.self) == UInt64.max)
        #expect(try number("18446744073709551616")?.integer(UInt64.self) == nil)
        #expect(try number("-9223372036854775808")?.integer(Int64.self) == Int64.min)
        #expect(try number("1.5") == .other("1.5"))
        #expect(try number("1.5")?.integer(Int.self) == nil)
        #expect(try number("1e3")?.integer(Int.self) == 1000)
        #expect(try JSONValue.parse(Array(#"{"a\u0041":[1,{"b":1e400}]}"#.utf8)).text() == #"{"aA":[1,{"b":1e400}]}"#)
        for text in ["18446744073709551616", "1e400", "-1e400", "01", "-", "1.", "1e+", "1-2"] {
            #expect(try number(text) == .other(text))
        }
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
        ("0x10", "line 1, column 2: found 'x' after the end of the value; remove it"),
        ("[NaN]", "line 1, column 2: expected a value, found 'N'; a text goes into quotation marks"),
        ("[1/**/]", "line 1, column 3: expected ',' or ']', found '/'"),
        ("+1", "line 1, column 1: expected a value, found '+'"),
        ("\"a", "line 1, column 1: this text has no closing quotation mark"),
        ("\"a\tb\"", "line 1, column 3: a control character in a text must be escaped, found byte 0x09"),
        ("\"\\", "line 1, column 1: this text has no closing quotation mark"),
        ("{\"\\x\":1}", "line 1, column 2: this key is not UTF-8 or has an escape that JSON does not have"),
        ("\u{feff}{}", "line 1, column 1: the text starts with a byte order mark; save it as UTF-8 without one"),
        ("{}\0", "line 1, column 3: found byte 0x00 after the end of the value; remove it"),
    ])
    func refusesWhatIsNotJSON(text: String, message: String) {
        #expect(failure(Array(text.utf8)) == "$: not valid JSON at " + message)
    }

    @Test(arguments: [#"\x"#, #"\u12g4"#, #"\ud800"#, #"\udc00\ud800"#, #"\ud800\u0041"#])
    func namesThePlaceOfWrongEscapes(escape: String) {
        #expect(
            failure(Array("{\"a\":[1,\"\(escape)\"]}".utf8))
                == "$.a[1]: not valid JSON: this text is not UTF-8 or has an escape that JSON does not have")
    }

    /// The decoder finds it before it looks at any value.
    @Test func namesAnEscapeThatIsCutOff() {
        #expect(
            failure(Array(#"{"a":"\u12"}"#.utf8))
                == "$: not valid JSON: this text is not UTF-8 or has an escape that JSON does not have")
    }

    @Test func refusesTextThatIsNotUTF8() {
        #expect(
            failure([0x22, 0xff, 0x22])
                == "$: not valid JSON: this text is not UTF-8 or has an escape that JSON does not have")
        #expect(failure([0xff, 0x7b]) == "$: not valid JSON at line 1, column 1: expected a value, found byte 0xff")
        #expect(failure([0x7b, 0, 0x7d, 0]).hasSuffix("expected a key in quotation marks, found byte 0x00"))
        #expect(failure([0xfe, 0xff, 0, 0x7b, 0, 0x7d]).hasSuffix("expected a value, found byte 0xfe"))
    }

    @Test func boundsTheDepth() {
        let fits = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
        #expect(failure(Array(fits.utf8)) == "accepted as " + fits)
        let message = "$: not valid JSON at line 1, column 129: nested deeper than 128 levels; a spec needs six"
        #expect(failure([UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)) == message)
        let objects = String(repeating: "{\"a\":", count: 1000)
        #expect(failure(Array(objects.utf8)).hasSuffix("nested deeper than 128 levels; a spec needs six"))
    }

    @Test func boundsTheValues() {
        let fits = Array("[\(String(repeating: "0,", count: 99_998))0]".utf8)
        #expect(failure(fits).hasPrefix("accepted as [0,0"))
        let many = Array("[\(String(repeating: "0,", count: 99_999))0]".utf8)
        #expect(failure(many) == "$: not valid JSON at line 1, column 200000: more than 100000 values")
    }
}
