import Host

/// The host's side of a character device; only the I/O thread calls it, but for `letGo` and `takeBack`.
protocol CharEndpoint: AnyObject, Sendable {
    /// Where input comes from, if it does now.
    var inputDescriptor: Int32? { get }
    /// Where output goes, if it does now.
    var outputDescriptor: Int32? { get }
    /// Where new clients come from.
    var listener: Int32? { get }
    /// Takes a client that waits.
    func accept()
    /// Whether it is read even while the guest has no room: the terminal's user may want to say something to the VMM.
    var readsAhead: Bool { get }
    /// Whether bytes that were read ahead wait for `read`.
    var hasWaiting: Bool { get }
    /// Reads at most `limit` bytes, those that wait first; an empty array when there are none now.
    func read(limit: Int) -> [UInt8]
    /// Writes what it can without blocking; the number of bytes done with, thrown away ones included.
    func write(_ bytes: [UInt8]) -> Int
    /// Whether output with nobody to take it is thrown away.
    var discardsNow: Bool { get }
    /// In how many milliseconds `discardsNow` has to be asked again though nothing happened; nil for never.
    var patience: Int32? { get }
    /// Lets another process have the path where new clients come; those that are there stay. From any thread.
    func letGo()
    /// Takes the path again after `letGo`; nothing where it is still here. From any thread.
    func takeBack() throws(HostError)
}

extension CharEndpoint {
    var listener: Int32? { nil }
    func accept() {}
    var discardsNow: Bool { false }
    var readsAhead: Bool { false }
    var hasWaiting: Bool { false }
    var patience: Int32? { nil }
    func letGo() {}
    func takeBack() throws(HostError) {}
}

/// Tells the log of a backend's trouble, once for each kind.
package typealias CharReport = @Sendable (String) -> Void

/// Reads from a non-blocking or ready descriptor; nil at its end or on an error.
func readAvailable(_ file: borrowing FileDescriptor, limit: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: min(limit, 4096))
    var span = bytes.mutableSpan
    do throws(Errno) {
        let count = try file.read(into: &span)
        guard count > 0 else { return nil }
        return Array(bytes[..<count])
    } catch {
        return error == .wouldBlock ? [] : nil
    }
}
