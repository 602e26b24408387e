import Foundation
import Host
import TestSupport
import Testing

@testable import SecureStream

/// Directories that are not what `tls_dir` has to be: the error names the file and what is wrong with it.
struct CredentialTests {
    private let scratch: ScratchDirectory

    init() throws { scratch = try ScratchDirectory("tls") }

    private func problem(_ directory: String, isServer: Bool = false, now: Int64 = SecureEnds.tests) -> String {
        do throws(CredentialError) {
            _ = try SecureCredentials(
                directory: directory, role: isServer ? .server : .client(host: "h", address: "127.0.0.1"), now: now)
            return "nothing"
        } catch { return "\(error)" }
    }

    @Test func everyMissingFileIsNamed() throws {
        #expect(problem(scratch.path("nowhere")).contains("nowhere"))
        let file = try scratch.write("file", "")
        #expect(problem(file).contains("Not a directory"))
        for (isServer, names) in [
            (true, ["ca-cert", "server-cert", "server-key"]), (false, ["ca-cert", "client-cert", "client-key"]),
        ] {
            for name in names {
                let directory = try TLSFixtures.directory(scratch, "without-\(isServer)-\(name)", ["\(name).pem": nil])
                let words = problem(directory, isServer: isServer)
                #expect(words.contains("\(directory)/\(name).pem") && words.contains("ENOENT"), "\(words)")
                #expect(problem(directory + "/", isServer: isServer).contains("\(directory)/\(name).pem"))
                try FileManager.default.createDirectory(
                    atPath: "\(directory)/\(name).pem", withIntermediateDirectories: true)
                #expect(problem(directory, isServer: isServer).contains("\(directory)/\(name).pem"))
            }
            // The other end's files need not be there.
            let other = isServer ? "client" : "server"
            let half = try TLSFixtures.directory(
                scratch, "half-\(other)", ["\(other)-cert.pem": nil, "\(other)-key.pem": nil])
            #expect(problem(half, isServer: isServer) == "nothing")
        }
    }

    @Test func everyFileThatIsNoneIsNamed() throws {
        let begin = "-----BEGIN CERTIFICATE-----\n"
        for (index, rubbish) in ["", "rubbish", begin + "AAAA\n-----END CERTIFICATE-----\n", begin, TLSFixtures.key]
            .enumerated()
        {
            for name in ["ca-cert.pem", "client-cert.pem"] {
                let directory = try TLSFixtures.directory(scratch, "bad-\(index)-\(name)", [name: rubbish])
                #expect(
                    problem(directory).hasPrefix("\(directory)/\(name): has no certificate"), "\(problem(directory))")
            }
        }
        for (index, rubbish) in ["", "rubbish", TLSFixtures.client].enumerated() {
            let directory = try TLSFixtures.directory(scratch, "key-\(index)", ["client-key.pem": rubbish])
            #expect(problem(directory).hasPrefix("\(directory)/client-key.pem: has no private key"))
        }
        let mixed = try TLSFixtures.directory(scratch, "mixed", ["client-key.pem": TLSFixtures.otherKey])
        #expect(
            problem(mixed).contains(
                "client-key.pem: the key does not belong to the certificate in \(mixed)/client-cert"))
    }

    @Test func whatHasEndedIsNamed() throws {
        let directory = try TLSFixtures.directory(scratch, "old", ["client-cert.pem": TLSFixtures.expiredClient])
        #expect(problem(directory) == "nothing")
        let words = problem(directory, now: 1_700_000_000)
        #expect(words == "\(directory)/client-cert.pem: the certificate expired on 2021-01-01T00:00:00Z")
        #expect(
            problem(directory, now: 1_500_000_000).contains(
                "ca-cert.pem: the certificate is not valid before 2020-01-01"))
    }

    private func der(_ pem: String) throws -> [UInt8] {
        let lines = pem.split(separator: "\n").filter { !$0.hasPrefix("-") }
        return Array(try #require(Data(base64Encoded: lines.joined())))
    }

    @Test func datesAreRead() throws {
        let dates = try #require(CertificateDates(der(TLSFixtures.expiredServer)))
        #expect(CalendarTime(secondsSince1970: dates.first).text == "2020-01-01T00:00:00Z")
        #expect(CalendarTime(secondsSince1970: dates.last).text == "2021-01-01T00:00:00Z")
        // After 2049 the year has four digits.
        let long = try #require(CertificateDates(der(TLSFixtures.server)))
        #expect(CalendarTime(secondsSince1970: long.last).text == "2120-01-01T00:00:00Z" && long.first == dates.first)
        #expect(dates.problem(at: dates.last) == nil && dates.problem(at: dates.last + 1)?.contains("expired") == true)
    }

    /// Certificates with any byte changed or missing are read without harm.
    @Test func brokenDatesAreHarmless() throws {
        let good = try der(TLSFixtures.server)
        for index in good.indices {
            for value in [0, 0x7F, 0x80, 0x84, 0xFF, good[index] &+ 1] as [UInt8] {
                var broken = good
                broken[index] = value
                if let dates = CertificateDates(broken) {
                    #expect(!CalendarTime(secondsSince1970: dates.first).text.isEmpty && dates.last > -100_000_000_000)
                }
            }
            #expect(CertificateDates(Array(good[..<index])) == nil)
        }
        #expect(CertificateDates([]) == nil)
    }
}
