import Host
import Machine
import Spec

extension Route {
    /// The process's own routes.
    static let vmm: [Route] = [
        .get("vmm.ping") { context in
            .json(
                .members([
                    ("build_version", .string(context.version.build)), ("version", .string(context.version.api)),
                    ("pid", .integer(ProcessIdentity.id)),
                    ("features", .array([.string("kvm")] + (Zstd.isBuiltIn ? [.string("zstd")] : []))),
                ]))
        },
        .get("vmm.info") { context in
            .json(
                .members([
                    ("build_version", .string(context.version.build)), ("version", .string(context.version.api)),
                    ("pid", .integer(ProcessIdentity.id)), ("config", context.vm.status.info?.config.json),
                ]))
        },
        .get("openapi.json") { _ in .response(status: 200, body: OpenAPIDocument.bytes) },
        Route(name: "vmm.shutdown", method: .put, body: .none) { _, context, reply in
            context.vm.send(.quit) { result in
                switch result {
                case .success: reply(.response(status: 200, body: nil))
                case .failure(let error): reply(.failure(error))
                }
            }
        },
    ]
}
