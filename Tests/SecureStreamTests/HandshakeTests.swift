import Host
import TestSupport
import Testing

@testable import SecureStream

/// Who is let in, and what the others are told.
@Suite(.timeLimit(.minutes(5))) struct HandshakeTests {
    private let scratch: ScratchDirectory
    private let directory: String

    init() throws {
        scratch = try ScratchDirectory("tls")
        directory = try TLSFixtures.directory(scratch)
    }

    private func other(_ changes: [String: String?]) throws -> String {
        try TLSFixtures.directory(scratch, "other", changes)
    }

    @Test func bothEndsKnowEachOther() throws {
        for host in ["localhost", "127.0.0.1"] {
            let ends = try SecureEnds(SecureEnds.client(directory, host: host), SecureEnds.server(directory))
            let (client, server) = (try ends.client.get(), try ends.server.get())
            // TLS's own records are nothing to receive.
            #expect(!client.hasInput && !server.hasInput)
            let room = try ScratchMemory(count: 5)
            for (from, to) in [(client, server), (server, client)] {
                try from.send(Array("hello".utf8), descriptors: [], within: 5000, heeding: nil)
                #expect(Deadline.seconds(10).wait { to.hasInput })
                try to.receive(into: room.range, within: 5000, heeding: nil)
                #expect(room.range.bytes == Array("hello".utf8))
                #expect(!to.hasInput)
            }
            #expect(throws: StreamFault.host(.notSupported)) {
                try client.send([1], descriptors: [0], within: 5000, heeding: nil)
            }
            #expect(throws: StreamFault.timeUp) { try client.receive(into: room.range, within: 20, heeding: nil) }
            server.shutDown()
            #expect(Deadline.seconds(10).wait { client.hasInput })
            #expect(throws: StreamFault.closed) { try client.receive(into: room.range, within: 5000, heeding: nil) }
        }
    }

    @Test func aDestinationThatNobodyKnowsIsRefused() throws {
        let stranger = try other([
            "ca-cert.pem": TLSFixtures.otherAuthority, "server-cert.pem": TLSFixtures.otherServer,
            "server-key.pem": TLSFixtures.otherKey,
        ])
        let said = try SecureEnds(SecureEnds.client(directory), SecureEnds.server(stranger)).complaints
        #expect(said.client.contains("no certificate in \(directory)/ca-cert.pem vouches"), "\(said)")
        #expect(said.server.contains("vouches for \(stranger)/server-cert.pem"), "\(said)")
    }

    @Test func aSourceThatNobodyKnowsIsRefused() throws {
        let stranger = try other(["client-cert.pem": TLSFixtures.otherClient, "client-key.pem": TLSFixtures.otherKey])
        let said = try SecureEnds(SecureEnds.client(stranger), SecureEnds.server(directory)).complaints
        #expect(said.server.contains("no certificate in \(directory)/ca-cert.pem vouches"), "\(said)")
        #expect(said.client.contains("vouches for \(stranger)/client-cert.pem"), "\(said)")
    }

    @Test func certificatesThatEndedAreRefused() throws {
        let old = try other([
            "server-cert.pem": TLSFixtures.expiredServer, "client-cert.pem": TLSFixtures.expiredClient,
        ])
        let server = try SecureEnds(SecureEnds.client(directory), SecureEnds.server(old)).complaints
        #expect(server.client.contains("the peer's certificate expired on 2021-01-01T00:00:00Z"), "\(server)")
        #expect(server.server.contains("\(old)/server-cert.pem is not valid now"), "\(server)")
        let client = try SecureEnds(SecureEnds.client(old), SecureEnds.server(directory)).complaints
        #expect(client.server.contains("the peer's certificate expired on 2021-01-01T00:00:00Z"), "\(client)")
        #expect(client.client.contains("\(old)/client-cert.pem is not valid now"), "\(client)")
    }

    @Test func aDestinationOfAnotherNameIsRefused() throws {
        let elsewhere = try SecureEnds.server(other(["server-cert.pem": TLSFixtures.elsewhereServer]))
        for host in ["localhost", "127.0.0.1", "example"] {
            let said = try SecureEnds(SecureEnds.client(directory, host: host), elsewhere).complaints
            #expect(said.client.contains("is not one of \(host)"), "\(said)")
            #expect(said.server.contains("closed the connection"), "\(said)")
        }
        let ends = try SecureEnds(SecureEnds.client(directory, host: "elsewhere.example"), elsewhere)
        #expect(throws: Never.self) { try ends.client.get() }
    }

    /// A certificate for one end of a connection is none for the other.
    @Test func aDestinationsCertificateIsNoSources() throws {
        let wrong = try other(["client-cert.pem": TLSFixtures.server, "server-cert.pem": TLSFixtures.client])
        let source = try SecureEnds(SecureEnds.client(wrong), SecureEnds.server(directory)).complaints
        #expect(source.server.contains("was not made for this end") && source.client.contains("client-cert.pem"))
        let destination = try SecureEnds(SecureEnds.client(directory), SecureEnds.server(wrong)).complaints
        #expect(destination.client.contains("was not made for this end"), "\(destination)")
    }

    @Test func aPeerThatSaysNothingIsGivenUp() throws {
        let hello = try firstFlight()
        for sent in [[], Array(hello.prefix(3)), Array(hello.prefix(hello.count / 2)), hello] {
            let (left, right) = try StreamConnection.pair()
            try left.send(sent, within: 5000)
            #expect(throws: StreamFault.untrusted("the peer did not finish the handshake in time")) {
                _ = try SecureEnds.server(directory).secure(right, within: 100, heeding: nil)
            }
            let (silent, waiting) = try StreamConnection.pair()
            #expect(throws: StreamFault.untrusted("the peer did not finish the handshake in time")) {
                _ = try SecureEnds.client(directory).secure(waiting, within: 50, heeding: nil)
            }
            silent.shutDown()
        }
        let stop = try EventFD()
        stop.signal()
        let (left, right) = try StreamConnection.pair()
        #expect(throws: StreamFault.cancelled) {
            _ = try SecureEnds.server(directory).secure(right, within: 5000, heeding: stop)
        }
        left.shutDown()
    }

    @Test func aPeerWithoutTLSIsToldApart() throws {
        for text in ["SWMG and more, as a source without TLS would", "GET / HTTP/1.1\r\n\r\n", "\u{0}\u{0}"] {
            for isServer in [true, false] {
                let (left, right) = try StreamConnection.pair()
                try left.send(Array(text.utf8), within: 5000)
                #expect(throws: StreamFault.unencrypted) {
                    let end = try isServer ? SecureEnds.server(directory) : SecureEnds.client(directory)
                    _ = try end.secure(right, within: 10_000, heeding: nil)
                }
            }
        }
        #expect(StreamFault.unencrypted.description.contains("tls_dir"))
    }

    /// What a client says first.
    private func firstFlight() throws -> [UInt8] {
        let client = try SecureEnds.client(directory).engine()
        client.start()
        return client.takeOutput()
    }

    /// What belongs to a conversation goes with it, wherever it ended.
    @Test func nothingIsLeftOfAConversation() throws {
        for steps in 0..<5 {
            weak var first: AnyObject?
            weak var second: AnyObject?
            try withExtendedLifetime(scratch) {
                let left = try SecureEnds.client(directory).engine()
                let right = try SecureEnds.server(directory).engine()
                (first, second) = (left.handler, right.handler)
                left.start()
                right.start()
                for _ in 0..<steps {
                    right.feed(left.takeOutput())
                    left.feed(right.takeOutput())
                }
                #expect(left.isEstablished == (steps > 0) && right.isEstablished == (steps > 1))
                if steps == 4 {
                    left.seal([1, 2, 3])
                    right.feed(left.takeOutput())
                    #expect(right.takeInput(upTo: 9) == [1, 2, 3])
                    right.peerClosed()
                }
            }
            #expect(first == nil && second == nil, "after \(steps) steps")
        }
    }

    /// Records of a handshake that no client would send, fed in pieces: the end is told, or waited for.
    @Test func rubbishInAHandshakeIsHarmless() throws {
        let hello = try firstFlight()
        let credentials = try SecureEnds.server(directory)
        var random = SystemRandomNumberGenerator()
        var rubbish: [[UInt8]] = [
            [0x16, 3, 1, 0xFF, 0xFF] + [UInt8](repeating: 1, count: 70_000), [0x16, 3, 1, 0, 0],
            [0x15, 3, 3, 0, 2, 2, 48], [0x14, 3, 3, 0, 1, 1], [0x17, 3, 3, 0, 1, 1],
            (0..<20_000).map { _ in UInt8.random(in: .min ... .max, using: &random) },
        ]
        for index in stride(from: 0, to: hello.count, by: 7) {
            var broken = hello
            broken[index] ^= UInt8.random(in: 1 ... .max, using: &random)
            rubbish.append(broken)
            rubbish.append(Array(hello[..<index]) + Array(hello[min(index + 3, hello.count)...]))
        }
        for bytes in rubbish {
            let server = try credentials.engine()
            server.start()
            for piece in stride(from: 0, to: bytes.count, by: 500) {
                server.feed(Array(bytes[piece..<min(piece + 500, bytes.count)]))
            }
            #expect(!server.isEstablished && !server.hasInput)
            server.peerClosed()
            #expect(server.failure != nil)
            _ = server.takeOutput()
        }
    }
}
