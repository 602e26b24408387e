import Host
import NIOCore
import NIOSSL

/// Why a directory's certificates and key cannot be used.
package struct CredentialError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong with which file, and what to do.
    package let description: String

    init(_ description: String) { self.description = description }
}

/// Who this end of a stream is, and who may be at the other: certificates and a key from a directory.
///
/// The files are Cloud Hypervisor's: `ca-cert.pem` vouches for the peer, and `client-cert.pem` with `client-key.pem`, or
/// `server-cert.pem` with `server-key.pem`, for this end. Both ends show a certificate; TLS 1.3 and above.
package struct SecureCredentials: StreamSecurity {
    /// Which end of the connection this is.
    package enum Role: Equatable, Sendable {
        /// The one that connects, to a host that the peer's certificate has to name: as it was written, and its numeric
        /// address, either of which will do.
        case client(host: String, address: String)
        /// The one that waits.
        case server

        fileprivate var name: String { self == .server ? "server" : "client" }
    }

    private let context: NIOSSLContext
    private let role: Role
    private let names: PeerNames

    /// Reads the files.
    ///
    /// - Throws: what is wrong with which.
    package init(directory: String, role: Role) throws(CredentialError) {
        try self.init(directory: directory, role: role, now: HostClock.realTime.seconds)
    }

    /// - Parameter now: when the certificates have to be valid, in seconds since 1970.
    init(directory: String, role: Role, now: Int64) throws(CredentialError) {
        do throws(HostError) {
            _ = try Directory.open(directory)
        } catch { throw CredentialError("\(error)") }
        let base = directory.hasSuffix("/") ? directory : directory + "/"
        let (authority, own, secret) = (
            base + "ca-cert.pem", base + role.name + "-cert.pem", base + role.name + "-key.pem"
        )
        let roots = try Self.certificates(authority, now)
        let chain = try Self.certificates(own, now)
        let key = try Self.key(secret)
        var configuration: TLSConfiguration
        switch role {
        case .client:
            configuration = .makeClientConfiguration()
            configuration.trustRoots = .certificates(roots)
            configuration.certificateVerification = .fullVerification
            configuration.certificateChain = chain.map { .certificate($0) }
            configuration.privateKey = .privateKey(key)
        case .server:
            configuration = .makeServerConfigurationWithMTLS(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key),
                trustRoots: .certificates(roots))
        }
        configuration.minimumTLSVersion = .tlsv13
        do { context = try NIOSSLContext(configuration: configuration) } catch NIOSSLError.failedToLoadPrivateKey {
            throw CredentialError("\(secret): the key does not belong to the certificate in \(own)")
        } catch {
            throw CredentialError("\(own): cannot be used for TLS: \(error)")
        }
        self.role = role
        var host: String?
        if case .client(let name, _) = role { host = name }
        names = PeerNames(authority: authority, own: own, host: host)
    }

    private static func read(_ path: String) throws(CredentialError) -> [UInt8] {
        do throws(HostError) {
            let file = try FileDescriptor.openForReading(path)
            guard try file.status().kind == .regular else { throw HostError("read", path, .invalid) }
            do throws(Errno) { return try file.readAll(limit: 1 << 20) } catch { throw HostError("read", path, error) }
        } catch {
            throw CredentialError("\(error)")
        }
    }

    private static func certificates(_ path: String, _ now: Int64) throws(CredentialError) -> [NIOSSLCertificate] {
        let bytes = try read(path)
        let list: [NIOSSLCertificate]
        let encoded: [[UInt8]]
        do {
            list = try NIOSSLCertificate.fromPEMBytes(bytes)
            encoded = try list.map { try $0.toDERBytes() }
        } catch {
            throw CredentialError("\(path): has no certificate in PEM that can be read")
        }
        guard let first = encoded.first else { throw CredentialError("\(path): has no certificate in PEM") }
        if let problem = CertificateDates(first)?.problem(at: now) {
            throw CredentialError("\(path): the certificate \(problem)")
        }
        return list
    }

    private static func key(_ path: String) throws(CredentialError) -> NIOSSLPrivateKey {
        let bytes = try read(path)
        do { return try NIOSSLPrivateKey(bytes: bytes, format: .pem) } catch {
            throw CredentialError(
                "\(path): has no private key in PEM that can be read; one with a passphrase cannot be used")
        }
    }

    package func secure(
        _ connection: StreamConnection, within milliseconds: Int, heeding stop: EventFD?
    ) throws(StreamFault) -> any ByteStream {
        let secure: SecureConnection
        do {
            secure = SecureConnection(connection, try engine(), names)
        } catch {
            throw .untrusted("\(error)")
        }
        try secure.shakeHands(within: milliseconds, heeding: stop)
        return secure
    }

    /// This end's part of a conversation.
    func engine() throws -> sending TLSEngine {
        switch role {
        case .server: return try TLSEngine(NIOSSLServerHandler(context: context), address: nil)
        case .client(let host, let address):
            let number = try SocketAddress(ipAddress: address, port: 0)
            // A number is compared with the addresses in the certificate, a name with the names.
            let isNumber = (try? SocketAddress(ipAddress: host, port: 0)) != nil
            return try TLSEngine(
                NIOSSLClientHandler(context: context, serverHostname: isNumber ? nil : host), address: number)
        }
    }
}
