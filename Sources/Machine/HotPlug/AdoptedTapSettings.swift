import Host
import Spec
import VirtioNet

/// What a network interface's configuration says of a tap that came as descriptors: its client set it up, and of the
/// host's side only the MTU is this VM's to change, as Cloud Hypervisor has it.
enum AdoptedTapSettings {
    /// A line for each field that does nothing. Clients send the addresses that their templates have, so that they are no
    /// reason to refuse the interface.
    static func ignored(_ net: NetConfig) -> [String] {
        let fields = [("ip", net.ip != nil), ("mask", net.mask != nil), ("host_mac", net.hostMAC != nil)]
        return fields.filter(\.1).map {
            "$.\($0.0): ignored, since the tap came as descriptors; set it on the tap before sending them"
        }
    }

    /// Gives the tap the MTU that the guest is told.
    ///
    /// - Throws: when the tap is not within reach of this process, or the host refuses.
    static func setMTU(_ net: NetConfig, _ taps: AdoptedTaps) throws(VMError) {
        guard let mtu = net.mtu else { return }
        let interface: NetworkInterface
        do throws(HostError) { interface = try NetworkInterface(taps.interface) } catch {
            throw VMError(.failed, ["$.mtu: \(error)"])
        }
        // A tap of another network namespace may have the name of an interface of this one.
        guard let own = try? interface.mac(), own == taps.identity.mac else {
            throw VMError(
                .invalid,
                [
                    "$.mtu: the tap \(taps.interface) is in another network namespace, where its MTU cannot be set from "
                        + "here; set it there and leave mtu out, or run swiftlet there"
                ])
        }
        do throws(HostError) {
            if try interface.mtu() != Int(mtu) { try interface.setMTU(Int(mtu)) }
        } catch {
            let isDenied = error.errno == .notPermitted || error.errno == .accessDenied
            let remedy =
                isDenied
                ? "give swiftlet CAP_NET_ADMIN, or set the tap's MTU to \(mtu) before sending its descriptors"
                : "name an MTU that the tap can have"
            throw VMError(isDenied ? .failed : .invalid, ["$.mtu: \(error); \(remedy)"])
        }
    }
}
