import Host

/// The queues of one tap that a client opened and sent. They stay open over the guest's reboots and the VM's boots, as
/// nobody here could open them again.
package final class AdoptedTaps: Sendable {
    let queues: [NetBackend.Queue]
    /// The interface's name where it was opened, which need not be this process's network namespace.
    package var interface: String { identity.name }
    /// Which tap it is.
    package let identity: TapIdentity

    /// Takes all the descriptors over, one for each pair of queues.
    ///
    /// - Parameter field: the configuration's place, for errors.
    /// - Throws: when there is none, or one is no queue of a tap with virtio-net headers, or they are of several taps;
    ///   all are closed then.
    package init(_ descriptors: ReceivedDescriptors, at field: String) throws(NetError) {
        let multiQueue = descriptors.count > 1
        var queues: [NetBackend.Queue] = []
        do throws(HostError) {
            while let descriptor = descriptors.takeFirst() {
                queues.append(NetBackend.Queue(try TapQueue(adopting: descriptor, multiQueue: multiQueue)))
            }
        } catch {
            throw NetError(
                field: field, problem: "the descriptor of queue pair \(queues.count): \(error)",
                remedy: "send queues of one tap, opened with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR and, where there are "
                    + "several, IFF_MULTI_QUEUE")
        }
        guard let interface = queues.first?.tap.interface else {
            throw NetError(field: field, problem: "no tap queue came with the request", remedy: nil)
        }
        if let other = queues.first(where: { $0.tap.interface != interface }) {
            throw NetError(
                field: field, problem: "the descriptors are queues of \(interface) and of \(other.tap.interface)",
                remedy: "send queues of one tap")
        }
        try Self.refuseTwice(queues, field)
        do throws(HostError) { identity = try queues[0].tap.identity() } catch {
            throw NetError(field: field, problem: "\(error)", remedy: nil)
        }
        self.queues = queues
    }

    /// Refuses one queue that came by two descriptors.
    private static func refuseTwice(_ queues: [NetBackend.Queue], _ field: String) throws(NetError) {
        for (index, queue) in queues.enumerated() {
            guard let first = queues[..<index].firstIndex(where: { queue.tap.file.isSameOpenFile(as: $0.tap.file) })
            else { continue }
            throw NetError(
                field: field, problem: "the descriptors of queue pairs \(first) and \(index) are the same open file",
                remedy: "open /dev/net/tun once for each queue")
        }
    }

    /// Whether they are as many as an interface has pairs of queues.
    ///
    /// - Throws: when they are not.
    package func check(_ settings: NetSettings) throws(NetError) {
        try check(pairs: settings.pairs, at: settings.field)
    }

    /// Whether they are as many as an interface has pairs of queues.
    ///
    /// - Parameter field: the configuration's place, for errors.
    /// - Throws: when they are not.
    package func check(pairs: Int, at field: String) throws(NetError) {
        guard queues.count == max(pairs, 1) else {
            throw NetError(
                field: field,
                problem:
                    "\(queues.count) \(queues.count == 1 ? "descriptor" : "descriptors") came for \(2 * pairs) queues",
                remedy: "set num_queues to \(2 * queues.count), two for each descriptor")
        }
    }
}
