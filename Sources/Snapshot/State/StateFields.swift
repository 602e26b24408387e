/// The fields of a device's state while they are checked, for errors that name them.
package struct StateFields {
    /// The place of the device's state in the document.
    package let place: String

    /// - Parameter device: the device's name in the document.
    package init(_ device: String) { place = "devices.\(device).state" }

    /// Refuses a field that the device cannot have.
    ///
    /// - Parameters:
    ///   - field: in the state: `queues[0].size`.
    ///   - words: what is wrong with it.
    package func check(
        _ field: @autoclosure () -> String, _ isGood: Bool, _ words: @autoclosure () -> String
    ) throws(SnapshotError) {
        if !isGood { throw refusal(field(), words()) }
    }

    /// The error of a field that the device cannot have.
    package func refusal(_ field: String, _ words: String) -> SnapshotError {
        SnapshotError(
            .malformed, field: field.isEmpty ? place : "\(place).\(field)",
            "\(words); the snapshot is damaged, or of a machine that this one is not")
    }
}
