import TestSupport
import Testing

/// A directory of certificates for both ends of a migration, made by openssl: an authority, what a destination shows, which
/// names its addresses, and what a source shows.
struct Certificates {
    /// The directory's path.
    let directory: String

    /// Makes them.
    ///
    /// - Parameter addresses: where destinations are.
    init(in scratch: ScratchDirectory, for addresses: [String]) throws {
        directory = scratch.path("tls")
        func path(_ name: String) -> String { "\(directory)/\(name).pem" }
        try Self.run("mkdir", "-m", "700", directory)
        let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        try Self.openssl(
            new + ["-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", path("ca-key"), "-out", path("ca-cert")])
        let names = addresses.map { "IP:\($0)" }.joined(separator: ",")
        for (end, extensions) in [
            ("server", "subjectAltName=\(names)\nextendedKeyUsage=serverAuth\n"),
            ("client", "extendedKeyUsage=clientAuth\n"),
        ] {
            try scratch.write("tls/\(end).ext", extensions)
            try Self.openssl(
                new + ["-subj", "/CN=\(end)", "-keyout", path("\(end)-key"), "-out", path("\(end)-request")])
            try Self.openssl([
                "x509", "-req", "-in", path("\(end)-request"), "-CA", path("ca-cert"), "-CAkey", path("ca-key"),
                "-CAcreateserial", "-days", "2", "-extfile", scratch.path("tls/\(end).ext"), "-out",
                path("\(end)-cert"),
            ])
        }
    }

    private static func openssl(_ arguments: [String]) throws {
        let result = try runProcess(Command("openssl", arguments))
        try #require(result.succeeded, "openssl \(arguments): \(result)")
    }

    private static func run(_ program: String, _ arguments: String...) throws {
        let result = try runProcess(Command(program, arguments))
        try #require(result.succeeded, "\(program) \(arguments): \(result)")
    }
}
