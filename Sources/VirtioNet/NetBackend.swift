import Host
import Synchronization

/// How a network device looks to its host and its guest.
package struct NetSettings: Equatable, Sendable {
    /// The tap's name; empty for a new one of the kernel's choice.
    package var tap = ""
    /// The configuration's place, for errors: `$.net[0]`.
    package var field: String
    /// The guest's hardware address, and the host's side, if it is to be set.
    package var mac: [UInt8], hostMAC: [UInt8]?
    /// The largest packet in bytes, if it is to be set.
    package var mtu: Int?
    /// The host side's IPv4 address and mask, if they are to be set.
    package var address: [UInt8]?, mask: [UInt8]?
    /// Pairs of queues, and the largest size of each queue.
    package var pairs = 1, queueSize: UInt16 = 256
    /// What the guest may leave unfinished: segmentation of TCP and of UDP, and checksums.
    package var offloadTSO = true, offloadUFO = true, offloadChecksum = true

    package init(field: String, mac: [UInt8]) { (self.field, self.mac) = (field, mac) }
}

/// A network backend that cannot be used.
package struct NetError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The configuration's field, what failed, and what to do.
    package let field: String, problem: String, remedy: String?
    /// Whether the configuration is at fault, not the host.
    package var isMistake = false

    package var description: String { "\(field): \(problem)" + (remedy.map { "; \($0)" } ?? "") }
}

/// An open tap with a queue for each pair; a new one disappears when it is closed.
package final class NetBackend: Sendable {
    final class Queue: Sendable {
        let tap: TapQueue
        init(_ tap: consuming TapQueue) { self.tap = tap }
    }

    /// The queues; none while another process has the tap.
    var queues: [Queue] { attached.withLock { $0 } }
    private let attached: Mutex<[Queue]>
    /// What it is made from again; nil for queues that came from outside and stay.
    private let settings: NetSettings?
    /// The interface's name on the host.
    package let interface: String

    /// - Parameter isStandby: whether another process still has a tap that has a name: it comes with `takeBack`.
    package init(_ settings: NetSettings, isStandby: Bool = false) throws(NetError) {
        let (queues, interface) =
            isStandby && !settings.tap.isEmpty ? ([], settings.tap) : try Self.attach(settings)
        attached = Mutex(queues)
        (self.settings, self.interface) = (settings, interface)
    }

    /// Closes the tap's queues, for another process to open them. No worker uses them then, until `takeBack`.
    package func letGo() {
        guard settings != nil else { return }
        let gone = attached.withLock { queues in
            defer { queues = [] }
            return queues
        }
        _ = consume gone
    }

    /// Opens them again.
    package func takeBack() throws(NetError) {
        guard var settings, queues.isEmpty else { return }
        // One that the kernel named keeps its name.
        settings.tap = interface
        let again = try Self.attach(settings).0
        attached.withLock { $0 = again }
    }

    /// Sends a reverse ARP request (RFC 903) in the guest's name, by which switches learn behind which port it is.
    func announce(_ mac: [UInt8]) {
        guard let queue = queues.first, mac.count == 6 else { return }
        var packet = [UInt8](repeating: 0, count: TapQueue.headerSize)
        // To everybody; RARP, Ethernet and IPv4 addresses, the request; who asks, and about whom.
        packet += [UInt8](repeating: 0xFF, count: 6) + mac + [0x80, 0x35]
        packet += [0, 1, 8, 0, 6, 4, 0, 3] + mac + [0, 0, 0, 0] + mac + [0, 0, 0, 0]
        packet += [UInt8](repeating: 0, count: TapQueue.headerSize + 60 - packet.count)
        // One that is lost is no loss: the guest's own packets say the same.
        _ = try? queue.tap.file.write(packet.span)
    }

    private static func attach(_ settings: NetSettings) throws(NetError) -> ([Queue], String) {
        var queues: [Queue] = []
        // The field that asks for the step at hand.
        var field = "tap"
        do throws(HostError) {
            var name = settings.tap.isEmpty ? "vmtap%d" : settings.tap
            for _ in 0..<max(settings.pairs, 1) {
                let tap = try TapQueue(name: name, multiQueue: settings.pairs > 1)
                name = tap.interface
                queues.append(Queue(tap))
            }
            let interface = try NetworkInterface(name)
            if let mac = settings.hostMAC {
                field = "host_mac"
                try interface.setMAC(mac)
            }
            if let mtu = settings.mtu {
                field = "mtu"
                try interface.setMTU(mtu)
            }
            if let address = settings.address {
                field = "ip"
                try interface.setAddress(address, mask: settings.mask ?? [255, 255, 255, 0])
            }
            field = "tap"
            // An interface that somebody else set up may be out of our rights to change; if it is up, that is fine.
            try interface.setUp()
            return (queues, name)
        } catch {
            throw Self.error(settings, field, error)
        }
    }

    /// A backend over tap queues that came from outside, whose interface is its owner's to set up.
    ///
    /// - Throws: when there is not one queue for each pair.
    package init(_ settings: NetSettings, _ taps: AdoptedTaps) throws(NetError) {
        try taps.check(settings)
        attached = Mutex(taps.queues)
        self.settings = nil
        interface = taps.interface
    }

    private static func error(_ settings: NetSettings, _ field: String, _ error: HostError) -> NetError {
        let place = "\(settings.field).\(field)"
        if field == "tap", error.errno == .invalid, let mistake = mistake(settings) { return mistake }
        let remedy: String? =
            switch error.errno {
            case .noSuchFile: "load the kernel module: modprobe tun"
            case .notPermitted, .accessDenied:
                "run as root, give swiftlet CAP_NET_ADMIN, or have an administrator make the tap: "
                    + "ip tuntap add mode tap user $USER name NAME"
            case .busy: "another process uses this tap: name another one"
            case .invalid where field == "tap": "name another interface, or leave tap out to have a new one made"
            default: nil
            }
        return NetError(field: place, problem: "\(error)", remedy: remedy)
    }

    /// Why an existing interface cannot be what the configuration says that it is; nil for one that can, or that is
    /// still to be made. Opens nothing.
    package static func mistake(_ settings: NetSettings) -> NetError? {
        let place = "\(settings.field).tap"
        switch TapNature(interface: settings.tap) {
        case .other(let isTun):
            return NetError(
                field: place, problem: "\(settings.tap) is not a tap interface" + (isTun ? " but a tun" : ""),
                remedy: "name a tap (ip tuntap add mode tap name NAME makes one), or leave tap out to have one made",
                isMistake: true)
        case .tap(let multiQueue) where multiQueue != (settings.pairs > 1):
            let made = multiQueue ? "several queues" : "one queue pair"
            let option = settings.pairs > 1 ? " multi_queue" : ""
            return NetError(
                field: place, problem: "\(settings.tap) was made for \(made), and num_queues is \(2 * settings.pairs)",
                remedy: "change num_queues, or make the tap anew: ip tuntap add mode tap\(option) name \(settings.tap)",
                isMistake: true)
        default: return nil
        }
    }
}
