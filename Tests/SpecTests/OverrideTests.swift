import Testing

@testable import Spec

/// What a restore changes of a snapshot's configuration.
@Suite struct OverrideTests {
    private static let config = """
        {"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{"size":33554432},"payload":{"kernel":"/k","cmdline":"a"},
        "disks":[{"path":"/a","id":"a","readonly":true},{"path":"/b","id":"b.c"}],
        "net":[{"tap":"tap0","id":"lan","mac":"02:00:00:00:00:01"}],"vsock":{"cid":3,"socket":"/v","id":"vs"},
        "serial":{"mode":"Socket","socket":"/s"},"console":{"mode":"Off"}}
        """

    private func applied(_ overrides: String) throws -> VMConfig {
        let request = try RestoreRequest.parse(Array(#"{"source_url":"file:///s","overrides":\#(overrides)}"#.utf8))
        let config = try #require(request.config.overrides)
        return try VMConfig.parse(Array(Self.config.utf8), config).config
    }

    @Test func eachResourceMayChange() throws {
        let config = try applied(
            """
            {"disks":[{"id":"b.c","path":"/new"}],"net":[{"id":"lan","tap":"tap9","mac":"02:00:00:00:00:09"}],
            "vsock":{"socket":"/v9"},"rng":{"src":"/dev/random"},"payload":{"kernel":"/k9"},
            "serial":{"mode":"File","file":"/log"},"disks2":null}
            """.replacing(",\"disks2\":null", with: ""))
        #expect(config.disks.map(\.path) == ["/a", "/new"] && config.disks[0].readonly)
        #expect(config.net[0].tap == "tap9" && config.net[0].mac?.description == "02:00:00:00:00:09")
        #expect(config.vsock?.socket == "/v9" && config.vsock?.cid == 3)
        #expect(config.rng.source == "/dev/random")
        #expect(config.payload?.kernel == "/k9" && config.payload?.cmdline == "a")
        #expect(config.serial.mode == .file && config.serial.file == "/log" && config.serial.socket == nil)
        #expect(try applied(#"{"serial":{"socket":"/t"}}"#).serial.socket == "/t")
        #expect(try applied("{}").disks.map(\.path) == ["/a", "/b"])
    }

    @Test(arguments: [
        (
            #"{"disks":[{"id":"x","path":"/n"}]}"#,
            #"$.overrides.disks[0].id: "x" is no disk of the snapshot; it has "a", "b.c""#
        ),
        (#"{"disks":[{"path":"/n"}]}"#, "$.overrides.disks[0].id: missing"),
        (#"{"disks":[{"id":"a"},{"id":"a"}]}"#, "$.overrides.disks[1].id: \"a\" is named twice"),
        (#"{"disks":[{"id":"a","readonly":false}]}"#, "$.overrides.disks[0].readonly: "),
        (#"{"disks":[{"id":"a","path":7}]}"#, "$.overrides.disks[0].path: got 7"),
        (#"{"disks":{"id":"a"}}"#, "$.overrides.disks: got an object"),
        (#"{"disks":[7]}"#, "$.overrides.disks[0]: got 7"), (#"{"memory":{"size":1}}"#, "$.overrides.memory: "),
        (#"{"net":[{"id":"lan","mac":"zz"}]}"#, "mac"), (#"{"console":{"mode":"Tty"}}"#, "$.overrides.console.mode: "),
        (#"{"serial":{"mode":"Off"}}"#, "$.overrides.serial.mode: "),
        (#"{"serial":{"mode":"File"}}"#, "$.serial"), (#"{"serial":[]}"#, "$.overrides.serial: got a list"),
        (#"{"disks":[{"id":"a","path":""}]}"#, "$.disks[0].path"), ("7", "$.overrides: got 7"),
        (#"{"disks":[{"id":"a","path":"/b"}]}"#, "$.disks"),
    ]) func whatCannotChangeIsRefusedByItsPlace(_ overrides: String, _ message: String) {
        let error = #expect(throws: SpecError.self) { _ = try applied(overrides) }
        #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    }

    @Test func optionsBecomeAnObject() throws {
        func text(_ options: [String]) throws -> String {
            JSONValue.object(try RestoreOverrides.object(options, name: "--override")).text()
        }
        #expect(
            try text(["disks.a.path=/x=y", "disks.b.c.path=/z", "serial.mode=File", "serial.file=/l", "net.a.tap=t"])
                == #"{"disks":[{"id":"a","path":"/x=y"},{"id":"b.c","path":"/z"}],"serial":{"mode":"File","file":"/l"},"#
                + #""net":[{"id":"a","tap":"t"}]}"#)
        for (option, words) in [
            ("disks", "expected SECTION.FIELD=VALUE"), ("disks=/x", "there is no field"),
            ("disks.path=/x", "there is no id"), ("serial.x.file=/x", "needs no id"), ("", "expected"),
        ] {
            let error = #expect(throws: SpecError.self) { _ = try text([option]) }
            #expect(error?.description.contains(words) == true && error?.description.hasPrefix("--override") == true)
        }
        var options = RestoreOptions()
        options.overrides = ["memory.size=1"]
        let error = #expect(throws: SpecError.self) { _ = try RestoreRequest.parse(directory: "/s", options) }
        #expect(error?.description.contains("overrides.memory") == true, "\(error?.description ?? "")")
        (options.overrides, options.disks, options.isOnDemand) = (["serial.file=/l"], "copy", true)
        let request = try RestoreRequest.parse(directory: "relative", options)
        #expect(request.path == "relative" && request.disks == .copy && request.memoryMode == .onDemand)
        #expect(request.overrides != nil)
    }
}
