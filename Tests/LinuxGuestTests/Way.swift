/// A way in which a guest moves.
struct Way: Sendable {
    /// The name of the guest's disk.
    static let disk = "files"

    /// What a test says of it.
    let name: String
    /// By a Unix socket, its memory as a descriptor.
    var isLocal = false
    /// Its disk comes along, into an image of its own.
    var isMirrored = false
    /// Encrypted, and each end shows a certificate.
    var isEncrypted = false
    /// Further members of the source's request: a comma and a member, again and again.
    var sending = ""
    /// Those of the destination's.
    var receiving = ""

    /// Members of the source's request, all but where it goes.
    ///
    /// - Parameter certificates: makes a directory of certificates, where it needs some.
    func atSource(_ certificates: () throws -> String) rethrows -> String {
        (isLocal ? #","local":true"# : "") + (isMirrored ? #","disks":"mirror""# : "")
            + (isEncrypted ? #","tls_dir":"\#(try certificates())""# : "") + sending
    }

    /// Members of the destination's request, all but where it comes.
    ///
    /// - Parameters:
    ///   - image: the path of the disk there.
    ///   - certificates: as at the source.
    func atDestination(_ image: String, _ certificates: () throws -> String) rethrows -> String {
        (isMirrored ? #","disks":[{"id":"\#(Self.disk)","path":"\#(image)"}]"# : "")
            + (isEncrypted ? #","tls_dir":"\#(try certificates())""# : "") + receiving
    }

    /// Over one connection.
    static let plain = Way(name: "plain")
    /// By several connections.
    static let connections = Way(name: "8 connections", sending: #","connections":8"#)
    /// Into another process of the same host, nothing copied.
    static let local = Way(name: "local", isLocal: true)
    /// The guest first, its memory later.
    static let postcopy = Way(
        name: "postcopy", sending: #","memory_mode":"Postcopy""#, receiving: #","memory_mode":"Postcopy""#)
    /// With its disk.
    static let mirror = Way(name: "mirror", isMirrored: true)

    /// Over one encrypted connection.
    static let tls = Way(name: "TLS", isEncrypted: true)
    /// Its memory compressed, where the executable was built with libzstd.
    static let compressed = Way(name: "compressed", sending: #","compression":"Zstd""#)

    /// All of them, each in turn.
    static let all = [plain, compressed, tls, connections, local, postcopy, mirror]
}
