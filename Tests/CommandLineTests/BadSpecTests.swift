import TestSupport
import Testing

/// Specs that are wrong in themselves: all of them exit with 65.
@Suite struct BadSpecTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let members: String
        let place: String
        let words: String
        init(_ members: String, _ place: String, _ words: String) {
            (self.members, self.place, self.words) = (members, place, words)
        }
        var testDescription: String { members }
    }

    static let cases = [
        Case(#""cpus":{"boot_vcpus":0,"max_vcpus":1}"#, "$.cpus.boot_vcpus: got 0", "expected a whole number from 1"),
        Case(#""cpus":{"boot_vcpus":2,"max_vcpus":1}"#, "$.cpus.max_vcpus: 1 is less", "raise it"),
        Case(#""cpus":{"boot_vcpus":1,"max_vcpus":99999}"#, "$.cpus.max_vcpus: got 99999", "expected"),
        Case(#""cpus":{"boot_vcpus":-1,"max_vcpus":1}"#, "$.cpus.boot_vcpus: got -1", "expected"),
        Case(#""cpus":{"boot_vcpus":1.5,"max_vcpus":2}"#, "$.cpus.boot_vcpus: got 1.5", "expected a whole number"),
        Case(
            #""cpus":{"boot_vcpus":99999999999999999999999,"max_vcpus":1}"#,
            "$.cpus.boot_vcpus: got 99999999999999999999999", "expected"),
        Case(#""cpus":{"boot_vcpus":"1","max_vcpus":1}"#, "$.cpus.boot_vcpus: got \"1\" (a string)", "expected"),
        Case(#""disks":{}"#, "$.disks: ", "expected"),
        Case(#""disks":[{"path":7}]"#, "$.disks[0].path: got 7", "expected a path"),
        Case(#""disks":[{}]"#, "$.disks[0].path: missing", "give the path"),
        Case(#""dsks":[]"#, "$.dsks: unknown", "did you mean 'disks'?"),
        Case(#""disks":[{"path":"/x","readony":true}]"#, "$.disks[0].readony: unknown", "did you mean 'readonly'?"),
        Case(#""vsock":{"cid":2,"socket":"/x"}"#, "$.vsock.cid: ", "from 3 to 4294967294"),
        Case(
            #""disks":[{"path":"/x","id":"a"},{"path":"/y","id":"a"}]"#, "$.disks[1].id: \"a\" is already",
            "choose another"),
        Case(#""net":[{"id":"a"},{"id":"a"}]"#, "$.net[1].id: \"a\" is already", "choose another"),
        Case(#""net":[{"mac":"xyz"}]"#, "$.net[0].mac: got \"xyz\"", "expected a MAC address"),
    ]

    @Test(arguments: cases) func namesTheField(_ one: Case) throws {
        expectRefusal(try Swiftlet.run(spec: Swiftlet.spec(one.members)), 65, one.place, one.words)
    }

    @Test(arguments: [
        ("4096", "got 4096"), ("-1", "got -1"), ("1e400", "got 1e400"), ("16777217", "got 16777217"),
        ("340282366920938463463374607431768211456", "got 3402823669"), ("\"1G\"", "got \"1G\" (a string)"),
        ("null", "missing"),
    ]) func namesAMemorySizeThatCannotBe(_ size: String, _ words: String) throws {
        let spec = #"{"serial":{"mode":"Null"},"console":{"mode":"Off"},"memory":{"size":\#(size)}}"#
        expectRefusal(try Swiftlet.run(spec: spec), 65, "$.memory.size: \(words)")
    }

    @Test func refusesMoreMemoryThanAddresses() throws {
        let spec = #"{"serial":{"mode":"Null"},"console":{"mode":"Off"},"memory":{"size":70368744177664}}"#
        expectRefusal(try Swiftlet.run(spec: spec), 65, "$.memory.size: ", "beyond the", "make it smaller")
    }

    @Test func refusesMoreVCPUsThanKVMTakes() throws {
        let spec = Swiftlet.spec(#""cpus":{"boot_vcpus":4096,"max_vcpus":4096}"#)
        expectRefusal(try Swiftlet.run(spec: spec), 69, "$.cpus.boot_vcpus: 4096", "KVM takes", "make it at most")
    }

    @Test func refusesWhatIsNotJSON() throws {
        expectRefusal(try Swiftlet.run(spec: "hello"), 65, "$: not valid JSON at line 1, column 1")
        expectRefusal(try Swiftlet.run(spec: ""), 65, "$: not valid JSON", "give an object")
        expectRefusal(try Swiftlet.run(spec: "[]"), 65, "$: got ", "expected an object")
        expectRefusal(try Swiftlet.run(spec: "{\"a\":\"\u{0}"), 65, "$: not valid JSON")
        let deep = String(repeating: "[", count: 100_000)
        expectRefusal(
            try Swiftlet.run(spec: deep), 65, "$: not valid JSON", "deeper than 128 levels", "a spec needs six")
    }

    @Test func namesEveryMistakeOnALineOfItsOwn() throws {
        let spec = Swiftlet.spec(#""cpus":{"boot_vcpus":0,"max_vcpus":"1"},"dsks":[]"#)
        let result = try Swiftlet.run(spec: spec)
        #expect(result.ending == .exited(65))
        let lines = result.errors.split(separator: "\n")
        #expect(
            lines.map { $0.prefix(23) } == [
                "swiftlet: $.cpus.boot_v", "swiftlet: $.cpus.max_vc", "swiftlet: $.dsks: unkno",
            ])
    }

    @Test func namesASpecThatCannotBeRead() throws {
        let scratch = try ScratchDirectory("spec")
        expectRefusal(
            try Swiftlet.run(["run", scratch.path("no")]), 65, "\(scratch.path("no")): cannot be read", "ENOENT",
            "check the path")
        expectRefusal(
            try Swiftlet.run(["run", scratch.path]), 65, "\(scratch.path): cannot be read", "name the JSON file")
        try scratch.sparse("huge", bytes: 64 << 20)
        expectRefusal(
            try Swiftlet.run(["run", scratch.path("huge")]), 65, "\(scratch.path("huge")): cannot be read", "at most")
    }
}
