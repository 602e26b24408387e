import TestSupport
import Testing

/// Live migration with compressed memory, where the executable was built with libzstd; that it is refused where it was not.
@Suite(.serialized, .timeLimit(.minutes(5))) struct CompressedMigrationTests {
    private let pair: MigrationTests.Pair
    private let member = #","compression":"Zstd""#

    init() throws { pair = try MigrationTests.Pair("compressed") }

    /// Whether the executable says that it can; one that cannot says how to get one that can.
    private func isBuiltIn(_ vmm: TestVMM) throws -> Bool {
        if try vmm.expect(200, "GET", "vmm.ping").text.contains(#""zstd""#) { return true }
        for name in ["vm.send-migration", "vm.migration.check"] {
            let text = try vmm.expect(400, "PUT", name, #"{"destination_url":"unix:/nowhere"\#(member)}"#).text
            #expect(text.contains("$.compression") && text.contains("swift build --traits Zstd"), "\(text)")
        }
        #expect(try vmm.state() == "Running")
        return false
    }

    /// Back and forth, over one connection and several, before the guest and behind it.
    @Test(arguments: ["", #","connections":8"#, #","memory_mode":"Postcopy""#])
    func aGuestMovesCompressed(_ options: String) throws {
        var (first, second) = (try pair.boot(), try TestVMM(selfTest: nil))
        guard try isBuiltIn(first) else { return }
        for turn in 0..<2 {
            try pair.move(first, second, options + member)
            pair.expectProgress("turn \(turn): \(second.evidence)")
            #expect(pair.count != nil, "the count has a gap or a repeat after turn \(turn)")
            for vmm in [first, second] {
                let report = try vmm.expect(200, "GET", "vm.migration").json
                #expect(report.compression.string == "Zstd")
                let (bytes, pages) = (try #require(report.sent_bytes.int), try #require(report.sent_pages.int))
                #expect(pages > 0 && bytes < pages * 2048, "\(bytes) bytes for \(pages) pages")
            }
            // Each page once around: the guest compares what is in them.
            let before = pair.count ?? 0
            #expect(Deadline.seconds(30).wait { (pair.count ?? 0) > before + 2048 }, "\(second.evidence)")
            swap(&first, &second)
        }
    }

    @Test func itIsForMemoryThatIsCopied() throws {
        let (first, second) = (try pair.boot(), try TestVMM(selfTest: nil))
        for (value, words) in [
            (#""zstd""#, "did you mean 'Zstd'?"), ("true", "$.compression"), (#""Gzip""#, "None, Zstd"),
        ] {
            let body = #"{"destination_url":"unix:/nowhere","compression":\#(value)}"#
            let text = try first.expect(400, "PUT", "vm.send-migration", body).text
            #expect(text.contains(words), "\(text)")
        }
        let local = try first.expect(
            400, "PUT", "vm.send-migration", #"{"destination_url":"unix:/nowhere","local":true\#(member)}"#
        ).text
        #expect(local.contains("$.compression"), "\(local)")
        // None is no compression, in any build.
        try pair.move(first, second, #","compression":"None""#)
        #expect(try first.expect(200, "GET", "vm.migration").json.compression.string == "None")
        pair.expectProgress(second.evidence)
    }
}
