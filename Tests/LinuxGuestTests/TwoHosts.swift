import Foundation
import TestSupport
import Testing

/// Two hosts in little: network namespaces, each with a bridge and a tap of the same name, joined by cables to a switch in
/// this one.
///
///     this namespace: switch, 192.168.249.1
///       cable to host 0: bridge, 192.168.249.10, tap     cable to host 1: bridge, 192.168.249.11, tap
final class TwoHosts: Sendable {
    /// The tap's name in both.
    static let tap = "lan"
    /// Addresses: of this namespace, and of the guest.
    static let client = "192.168.249.1", guest = "192.168.249.2"

    private let mark = "\(getpid() % 100_000)"
    private var bridge: String { "sws\(mark)" }

    init() throws {
        try Self.ip("link add \(bridge) type bridge")
        try Self.ip("address add \(Self.client)/24 dev \(bridge)")
        try Self.ip("link set \(bridge) up")
        for host in 0...1 {
            let space = namespace(host)
            try Self.ip("netns add \(space)")
            try Self.ip("link add \(port(host)) type veth peer name cable netns \(space)")
            try Self.ip("link set \(port(host)) master \(bridge) up")
            try Self.ip("-n \(space) link set lo up")
            try Self.ip("-n \(space) link add bridge type bridge")
            try Self.ip("-n \(space) tuntap add dev \(Self.tap) mode tap vnet_hdr")
            for member in ["cable", Self.tap] { try Self.ip("-n \(space) link set \(member) master bridge up") }
            try Self.ip("-n \(space) address add \(address(host))/24 dev bridge")
            try Self.ip("-n \(space) link set bridge up")
        }
    }

    deinit {
        for host in 0...1 { try? Self.ip("netns delete \(namespace(host))") }
        try? Self.ip("link delete \(bridge)")
    }

    /// A host's address.
    func address(_ host: Int) -> String { "192.168.249.1\(host)" }

    private func namespace(_ host: Int) -> String { "swh\(host)-\(mark)" }
    private func port(_ host: Int) -> String { "swp\(host)-\(mark)" }

    /// A command that runs on a host.
    func command(on host: Int, _ program: String, _ arguments: [String]) -> Command {
        Command("ip", ["netns", "exec", namespace(host), program] + arguments)
    }

    /// Runs a command on a host, which has to succeed.
    func run(on host: Int, _ words: String) throws {
        let words = words.split(separator: " ").map(String.init)
        let result = try runProcess(command(on: host, words[0], Array(words.dropFirst())))
        try #require(result.succeeded, "\(words.joined(separator: " ")): \(result)")
    }

    /// What a host's cable does to the packets that leave it: words of tc-netem(8); nothing for a sound one.
    func impair(_ host: Int, _ how: String?) throws {
        if let how {
            try run(on: host, "tc qdisc replace dev cable root netem \(how)")
        } else {
            try run(on: host, "tc qdisc delete dev cable root")
        }
    }

    /// Pulls a host's cable, or plugs it in.
    func plug(_ host: Int, _ isIn: Bool) throws { try run(on: host, "ip link set cable \(isIn ? "up" : "down")") }

    /// The hosts' connections now, with their timers and what is on its way, and what each knows of its neighbours.
    var connections: String {
        (0...1).map { host in
            [["ss", "-tinoem"], ["ip", "-s", "neighbour"], ["ip", "-s", "link", "show", "cable"]].map { words in
                let result = try? runProcess(command(on: host, words[0], Array(words.dropFirst())))
                return "\(words.joined(separator: " ")) on host \(host):\n\(result?.text ?? "failed")"
            }.joined(separator: "\n")
        }.joined(separator: "\n")
    }

    private static func ip(_ words: String) throws {
        let result = try runProcess(Command("ip", words.split(separator: " ").map(String.init)))
        try #require(result.succeeded, "ip \(words): \(result)")
    }
}
