internal import FoundationEssentials

/// Drives one VMM process, Swiftlet's or Cloud Hypervisor's, over its API socket.
///
/// Each call has a connection of its own, and a thread of its own for as long as it waits, so that a VMM that takes its
/// time holds up nobody else. Cancelling the calling task ends the waiting, not what the VMM has begun to do.
///
/// ```swift
/// let client = VMMClient(socketPath: "/run/vm1/api.sock")
/// try await client.create(["payload": ["kernel": "/boot/vmlinux"], "memory": ["size": 1_073_741_824]])
/// try await client.boot()
/// print(try await client.info().state)
/// ```
public struct VMMClient: Sendable {
    /// The VMM's socket.
    public let socketPath: String
    /// How long a reply is waited for; nil waits for ever. Calls that take as long as the guest is large (snapshots,
    /// migrations, core dumps) wait for ever unless they are told otherwise.
    public var timeout: Duration?

    /// A client of the VMM at a socket; connects with the first call.
    public init(socketPath: String, timeout: Duration? = .seconds(60)) {
        (self.socketPath, self.timeout) = (socketPath, timeout)
    }

    /// Sends a request, whatever it is, and answers a successful reply.
    ///
    /// - Parameters:
    ///   - method: `GET` or `PUT`.
    ///   - route: the part behind `/api/v1/`: `vm.boot`.
    ///   - body: JSON; nil sends none.
    ///   - descriptors: open descriptors that travel with the request; they stay the caller's to close.
    ///   - timeout: how long the reply is waited for; nil waits for ever.
    /// - Throws: kind `.api` when the VMM refuses.
    public func request(
        _ method: String, _ route: String, body: [UInt8]? = nil, descriptors: [Int32] = [], timeout: Duration?
    ) async throws(VMMClientError) -> VMMReply {
        let request = WireRequest(method, route, body: body, descriptors: descriptors)
        let path = socketPath
        let fits = [method, route].allSatisfy { $0.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } }
        guard fits else {
            let cause = "a method or route with blanks or characters beyond ASCII"
            throw VMMClientError(.invalidRequest, operation: request.operation, socketPath: path, causes: [cause])
        }
        let result = await CallThread.run { error in
            VMMClientError(
                .cannotConnect(errno: error.errno.number), operation: request.operation, socketPath: path,
                causes: ["\(error)"])
        } _: { interrupt in
            Result { () throws(VMMClientError) in
                try BlockingCall.perform(request, at: path, Patience(timeout, interrupt: interrupt))
            }
        }
        return try result.get()
    }

    /// The value of a route's reply.
    func get<Value: Decodable>(_ type: Value.Type, _ route: String) async throws(VMMClientError) -> (Value, [UInt8]) {
        let reply = try await request("GET", route, timeout: timeout)
        let value = try BlockingCall.decode(
            type, reply.body, operation: "GET /api/v1/\(route)", socketPath: socketPath)
        return (value, reply.body)
    }

    /// An action without a body.
    func act(_ route: String) async throws(VMMClientError) {
        _ = try await request("PUT", route, timeout: timeout)
    }

    /// An action with a body.
    @discardableResult
    func act(
        _ route: String, _ body: some Encodable, descriptors: [Int32] = [], timeout: Duration?
    ) async throws(VMMClientError) -> VMMReply {
        let json: [UInt8]
        do {
            json = Array(try JSONEncoder().encode(body))
        } catch {
            throw VMMClientError(
                .invalidRequest, operation: "PUT /api/v1/\(route)", socketPath: socketPath,
                causes: ["its body cannot be written as JSON", "\(error)"])
        }
        return try await request("PUT", route, body: json, descriptors: descriptors, timeout: timeout)
    }
}

extension VMMClient {
    /// Asks whether the VMM answers, and who it is.
    public func ping() async throws(VMMClientError) -> VMMPing { try await get(VMMPing.self, "vmm.ping").0 }

    /// The VMM's versions and process, and its VM's configuration.
    public func vmmInfo() async throws(VMMClientError) -> VMMInfo {
        var (info, raw) = try await get(VMMInfo.self, "vmm.info")
        info.raw = raw
        return info
    }

    /// Ends the VMM and its VM.
    public func shutdownVMM() async throws(VMMClientError) { try await act("vmm.shutdown") }

    /// The VMM's metrics in Prometheus' text format. An extension of Swiftlet.
    public func metrics() async throws(VMMClientError) -> String {
        String(decoding: try await request("GET", "vmm.metrics", timeout: timeout).body, as: UTF8.self)
    }

    /// The API's description (OpenAPI 3.1, JSON). An extension of Swiftlet.
    public func openAPI() async throws(VMMClientError) -> [UInt8] {
        try await request("GET", "openapi.json", timeout: timeout).body
    }
}
