import Testing

@testable import Spec

/// The `vsock` section.
struct VsockTests {
    @Test func reads() throws {
        let full = try config(
            #"{"vsock":{"cid":4294967294,"socket":"/run/v","id":"talk","iommu":false,"pci_segment":0}}"#)
        #expect(full.vsock?.cid == 4_294_967_294 && full.vsock?.socket == "/run/v" && full.vsock?.id == "talk")
        var least = try config(#"{"vsock":{"cid":3,"socket":"v"}}"#)
        var names = DeviceNames()
        least.assignIDs(&names)
        #expect(least.vsock?.id == "_vsock0")
        #expect(try config(#"{"vsock":null}"#).vsock == nil)
        let flags = try config {
            $0.kernel = "/k"
            $0.vsock = "cid=3,socket=/run/v,id=talk"
        }
        #expect(flags.vsock?.cid == 3 && flags.vsock?.socket == "/run/v" && flags.vsock?.id == "talk")
    }

    @Test func writesWhatItReads() throws {
        var vsock = VsockConfig(cid: 7, socket: "/run/v")
        vsock.id = "talk"
        let text = vsock.json.text()
        #expect(text == #"{"id":"talk","pci_segment":0,"cid":7,"socket":"/run/v","iommu":false}"#)
        #expect(try VsockConfig.parse(Array(text.utf8), mode: .strict).config == vsock)
    }

    @Test(arguments: [
        (#"{"cid":2,"socket":"/s"}"#, "$.vsock.cid: got 2, expected a whole number from 3 to 4294967294"),
        (
            #"{"cid":4294967295,"socket":"/s"}"#,
            "$.vsock.cid: got 4294967295, expected a whole number from 3 to 4294967294"
        ),
        (#"{"socket":"/s"}"#, "$.vsock.cid: missing; give a whole number from 3 to 4294967294"),
        (#"{"cid":3}"#, "$.vsock.socket: missing; give the path of a Unix socket"),
        (#"{"cid":3,"socket":""}"#, "$.vsock.socket: empty; give a path or remove the field"),
        (#"{"cid":3,"socket":"/s","sockt":1}"#, "$.vsock.sockt: unknown; did you mean 'socket'?"),
        (
            #"{"cid":3,"socket":"/s","iommu":true}"#,
            "$.vsock.iommu: 'iommu' is not supported yet by this version; remove it"
        ),
        (
            #"{"cid":3,"socket":"/s","id":"__rng"}"#,
            "$.vsock.id: \"__rng\" begins with '__', which is kept for built-in devices; choose another name"
        ),
    ]) func refuses(_ section: String, _ issue: String) {
        #expect(issues(#"{"vsock":\#(section)}"#) == [issue])
    }

    @Test func refusesAPathThatNoSocketHas() {
        let path = "/" + String(repeating: "x", count: 107)
        let found = issues(#"{"vsock":{"cid":3,"socket":"\#(path)"}}"#)
        #expect(found.count == 1 && found[0].contains("$.vsock.socket") && found[0].contains("at most 107"))
    }

    @Test func sharesItsIdWithNoOtherDevice() {
        let found = issues(#"{"net":[{"id":"a"}],"vsock":{"cid":3,"socket":"/s","id":"a"}}"#)
        #expect(found.count == 1 && found[0].hasPrefix("$.vsock.id: "))
    }

    @Test func isRemovedByItsId() throws {
        var config = try config(#"{"vsock":{"cid":3,"socket":"/s","id":"talk"}}"#)
        #expect(!config.removeDevice("other") && config.vsock != nil)
        #expect(config.removeDevice("talk") && config.vsock == nil)
    }
}
