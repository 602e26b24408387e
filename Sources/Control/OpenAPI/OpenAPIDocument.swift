/// What describes the API to its clients: an OpenAPI 3.1 document, carried inside the executable.
package enum OpenAPIDocument {
    /// The document, to the byte as it stands in the repository.
    package static var bytes: [UInt8] { Array(OpenapiText.text.utf8) }
}
