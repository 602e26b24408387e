import Testing

@testable import Spec

/// Option lists of the API's requests.
@Suite struct RequestFlagTests {
    @Test func listsBecomeObjects() throws {
        func text(_ kind: RequestFlags, _ list: String) throws -> String {
            JSONValue.object(try kind.object(list, name: "verb")).text()
        }
        #expect(try text(.disk, "path=/a,readonly=on") == #"{"path":"/a","readonly":true}"#)
        #expect(try text(.net, "fd=[3,4],id=n") == #"{"fds":[3,4],"id":"n"}"#)
        #expect(try text(.pmem, "file=/p,size=2M") == #"{"file":"/p","size":2097152}"#)
        #expect(try text(.vsock, "cid=3,socket=\"/a,b\"") == #"{"cid":3,"socket":"/a,b"}"#)
        let cards = #"{"source_url":"file:///s","net_fds":[{"id":"a","fds":[3,4]},{"id":"b","fds":[5]}]}"#
        #expect(try text(.restore, "source_url=file:///s,net_fds=[a@[3,4],b@[5]]") == cards)
        #expect(
            try text(.sendMigration, "destination_url=tcp:h:1,timeout_strategy=cancel,compression=zstd")
                == #"{"destination_url":"tcp:h:1","timeout_strategy":"Cancel","compression":"Zstd"}"#)
    }

    @Test func aRestoreReadsAheadUnlessItIsToldNotTo() throws {
        let list = "source_url=file:///s,memory_restore_mode=ondemand"
        #expect(try RestoreRequest.parse(flag: list).prefetch)
        #expect(try !RestoreRequest.parse(flag: list + ",prefetch=off").prefetch)
        let body = Array(#"{"source_url":"file:///s","prefetch":false}"#.utf8)
        #expect(try !RestoreRequest.parse(body).config.prefetch)
        let error = #expect(throws: SpecError.self) {
            try RestoreRequest.parse(Array(#"{"source_url":"file:///s","prefetch":1}"#.utf8))
        }
        #expect(error?.description.contains("$.prefetch") == true, "\(error as Any)")
    }

    @Test(arguments: [
        (RequestFlags.disk, "pth=/a", "add: key 'pth': unknown; did you mean 'path'?"),
        (.disk, "readonly=maybe", "add: key 'readonly': got \"maybe\", expected on, off, true or false"),
        (.disk, "path=\"a", "add: \"path=\\\"a\" has a quotation mark without its partner"),
        (.fs, "tag=a,tag=b", "add: key 'tag': given twice; keep one"),
        (.vsock, "cid=x", "add: key 'cid': got \"x\", expected a whole number"),
        (.restore, "net_fds=[a@b]", "add: key 'net_fds': got \"[a@b]\", expected a list like [net1@[3,4],net2@[5]]"),
    ]) func mistakesNameTheVerbAndTheKey(_ kind: RequestFlags, _ list: String, _ message: String) {
        let error = #expect(throws: SpecError.self) { try kind.object(list, name: "add") }
        #expect(error?.description == message)
    }

    @Test func everyListSurvivesAnyText() {
        let texts = [
            "", ",", "=", "[", "]", "[]", "a=[[", "net_fds=[@]", "net_fds=[@[]]", "fd=[9-1]", "size=99999999999G",
            "\u{0}",
        ]
        for kind in RequestFlags.allCases {
            for text in texts { _ = try? kind.object(text, name: "add") }
        }
    }

    @Test func sizesAsPeopleReadThem() {
        let cases: [(UInt64, String)] = [
            (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (512 << 20, "512 MiB"),
            (1 << 30, "1 GiB"),
            ((2 << 30) - 1, "1.9 GiB"), (.max, "16777215.9 TiB"),
        ]
        for (bytes, text) in cases { #expect(ByteSize.text(bytes) == text) }
        #expect(ByteSize.parse("2G") == 2 << 30 && ByteSize.parse("1X") == nil && ByteSize.parse("-1") == nil)
    }
}
