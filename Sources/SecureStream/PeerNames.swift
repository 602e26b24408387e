import Host
import NIOSSL

/// What the files and the peer are called in errors.
struct PeerNames: Sendable {
    /// The path of the certificates that vouch for the peer, and of what is shown to it.
    let authority: String, own: String
    /// The host that the peer has to be; nil where it may be any that the authority vouches for.
    let host: String?

    /// Says what an error of TLS means.
    func explain(_ error: any Error, _ engine: TLSEngine) -> StreamFault {
        switch error {
        case NIOSSLError.uncleanShutdown: return .closed
        case NIOSSLError.handshakeFailed(let cause): return explain(cause, engine)
        case let cause as BoringSSLError: return explain(cause, engine)
        case let cause as NIOSSLExtraError where cause == .failedToValidateHostname:
            return .untrusted("the peer's certificate is not one of \(host ?? "the peer"), which it has to name")
        default: return .untrusted("\(error)")
        }
    }

    private func explain(_ error: BoringSSLError, _ engine: TLSEngine) -> StreamFault {
        guard case .sslError(let stack) = error, let first = stack.first else {
            return error == .zeroReturn ? .closed : .untrusted("\(error)")
        }
        if first == .eofDuringHandshake {
            return .untrusted("the peer ended the connection during the handshake; it may say why in its log")
        }
        let reason = Self.reason(first.description)
        if let words = alert(reason) { return .untrusted(words) }
        switch reason {
        case "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST": return .unencrypted
        case "CERTIFICATE_VERIFY_FAILED":
            let dates = engine.peerCertificate.flatMap { CertificateDates($0) }
            if let problem = dates?.problem(at: HostClock.realTime.seconds) {
                return .untrusted("the peer's certificate \(problem)")
            }
            return .untrusted(
                "no certificate in \(authority) vouches for the peer's, or it was not made for this end of a connection"
            )
        case "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return .untrusted("the peer showed no certificate, which it needs to be let in")
        case "UNSUPPORTED_PROTOCOL", "NO_SUPPORTED_VERSIONS_ENABLED":
            return .untrusted("the peer does not speak TLS 1.3")
        case "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": return .untrusted("what came was changed on its way")
        default: return .untrusted("the peer does not keep to the protocol (\(reason))")
        }
    }

    /// What the peer's alert says; nil for another reason. (RFC 8446, 6.2)
    private func alert(_ reason: String) -> String? {
        guard let range = reason.wholeMatch(prefixes: ["SSLV3_ALERT_", "TLSV1_ALERT_", "TLSV1_"]) else { return nil }
        switch range {
        case "CERTIFICATE_EXPIRED": return "the peer says that \(own) is not valid now"
        case "UNKNOWN_CA": return "the peer has no certificate (ca-cert.pem) that vouches for \(own)"
        case "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_REVOKED",
            "DECRYPT_ERROR",
            "ACCESS_DENIED":
            return "the peer does not take \(own) (\(range))"
        case "CERTIFICATE_REQUIRED": return "the peer asks for a certificate"
        case "PROTOCOL_VERSION": return "the peer does not speak TLS 1.3"
        default: return "the peer gave up (\(range))"
        }
    }

    /// The name of the reason in an error's words: `…:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED at …`.
    static func reason(_ words: String) -> String {
        let parts = words.split(separator: ":")
        guard let index = parts.firstIndex(of: "OPENSSL_internal"), index + 1 < parts.count else { return words }
        return String(parts[index + 1].prefix { $0 != " " })
    }
}

extension String {
    /// What follows the first of the prefixes that it has.
    fileprivate func wholeMatch(prefixes: [String]) -> String? {
        prefixes.first { hasPrefix($0) }.map { String(dropFirst($0.count)) }
    }
}
