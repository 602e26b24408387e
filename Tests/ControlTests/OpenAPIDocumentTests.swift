import Foundation
import Spec
import Testing

@testable import Control

/// The OpenAPI document against what it describes.
struct OpenAPIDocumentTests {
    @Test func theExecutableCarriesTheDocumentToTheByte() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Sources/Control/OpenAPI/openapi.json").standardizedFileURL
        #expect(OpenAPIDocument.bytes == [UInt8](try Data(contentsOf: file)))
    }

    private static let routes = Route.vmm + Route.vm + Route.devices + Route.migration + Route.later + Route.observation

    @Test func everyRouteIsDescribedAsItIsCalled() throws {
        let document = try JSONValue.parse(OpenAPIDocument.bytes)
        let paths = try #require(document["paths"]?.members)
        for route in Self.routes {
            // A query is a parameter there.
            let path = route.name.prefix { $0 != "?" }
            let operation = try #require(
                paths["/\(path)"]?[route.method.rawValue.lowercased()], "\(route.name) is not described")
            let body: JSONValue? =
                switch route.body {
                case .none: nil
                case .required: .bool(true)
                case .any: .bool(false)
                }
            #expect(operation["requestBody"]?["required"] == body, "\(route.name)'s body")
        }
    }

    @Test func everythingDescribedIsServed() throws {
        let document = try JSONValue.parse(OpenAPIDocument.bytes)
        for (path, item) in try #require(document["paths"]?.members) {
            for method in try #require(item.members).keys {
                let isServed = Self.routes.contains {
                    "/\($0.name)" == path && $0.method.rawValue.lowercased() == method
                }
                #expect(isServed, "\(method) \(path)")
            }
        }
    }

    @Test func whatIsNotServedIsSaidToBe501() throws {
        let document = try JSONValue.parse(OpenAPIDocument.bytes)
        for (path, item) in try #require(document["paths"]?.members) {
            for (method, operation) in try #require(item.members) {
                let isLater = Route.later.contains { "/\($0.name)" == path }
                let statuses = try #require(operation["responses"]?.members).map(\.key)
                #expect(statuses.contains("501") == isLater, "\(method) \(path)")
                // Nothing but errors, where nothing is done.
                #expect(statuses.allSatisfy { $0 >= "400" } == isLater, "\(method) \(path)")
            }
        }
    }
}

extension JSONValue {
    /// The members of an object; nil for any other value.
    fileprivate var members: [String: JSONValue]? {
        guard case .object(let object) = self else { return nil }
        return Dictionary(uniqueKeysWithValues: object.keys.compactMap { key in object[key].map { (key, $0) } })
    }

    /// A member of an object.
    fileprivate subscript(key: String) -> JSONValue? {
        guard case .object(let object) = self else { return nil }
        return object[key]
    }
}
