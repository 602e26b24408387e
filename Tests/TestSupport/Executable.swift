import Foundation

/// Where what the tests need lies.
package enum Built {
    /// The built `swiftlet`: `$SWIFTLET_EXECUTABLE`, or the one beside the test bundle.
    package static func swiftlet() throws -> String {
        if let path = ProcessInfo.processInfo.environment["SWIFTLET_EXECUTABLE"], !path.isEmpty { return path }
        let path = "\(try directory())/swiftlet"
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw MissingFile(
                description: "no executable at \(path): run `swift build` first, or set SWIFTLET_EXECUTABLE")
        }
        return path
    }

    /// The directory that holds the test bundle and the built products.
    package static func directory() throws -> String {
        // The testing library loads the bundle, so this process's mappings name it, whatever started the process.
        let mappings = try String(contentsOfFile: "/proc/self/maps", encoding: .utf8)
        for line in mappings.split(separator: "\n") where line.hasSuffix(".xctest") {
            guard let slash = line.firstIndex(of: "/"), let end = line.lastIndex(of: "/") else { continue }
            return String(line[slash..<end])
        }
        throw MissingFile(description: "no test bundle among the mapped files of this process")
    }

    /// The root of the repository, which holds `Package.swift`.
    package static let repository: String = {
        let parts = #filePath.split(separator: "/").dropLast(3)
        return "/" + parts.joined(separator: "/")
    }()
}

/// A file that a test needs and that is not there.
package struct MissingFile: Error, CustomStringConvertible {
    /// What is missing and what to do.
    package let description: String
}
