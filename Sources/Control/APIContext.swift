import Logging
import Machine
import Spec

/// What routes answer from.
package struct APIContext: Sendable {
    /// The VM.
    package let vm: VMController
    /// What happens to it.
    package let events: EventMonitor
    /// The versions that clients look at.
    package let version: APIVersion
    /// For what a request said and was not heard.
    package let logger: Logger

    package init(vm: VMController, events: EventMonitor, version: APIVersion, logger: Logger) {
        (self.vm, self.events, self.version, self.logger) = (vm, events, version, logger)
    }

    /// Has the control thread carry a command out and answers with what it came to.
    func send(_ command: VMCommand, _ reply: @escaping @Sendable (APIReply) -> Void) {
        vm.send(command) { result in
            switch result {
            case .success(.done): reply(.done)
            case .success(.device(let id, let bdf)):
                reply(.json(.members([("id", .string(id)), ("bdf", .string(bdf))])))
            case .success(.forked(let children)):
                let list = children.map { child in
                    JSONValue.members([("api_socket", .string(child.socket)), ("pid", .integer(child.process))])
                }
                reply(.json(.members([("children", .array(list))])))
            case .success(.reasons(let reasons)):
                let list = reasons.map { JSONValue.string($0) }
                reply(.json(.members([("possible", .bool(reasons.isEmpty)), ("reasons", .array(list))])))
            case .failure(let error): reply(.failure(error))
            }
        }
    }
}

/// What the process says of itself.
package struct APIVersion: Sendable {
    /// The version of Cloud Hypervisor whose API this is: `54.0.0`.
    package let api: String
    /// The version of the executable.
    package let build: String

    package init(api: String, build: String) { (self.api, self.build) = (api, build) }
}
