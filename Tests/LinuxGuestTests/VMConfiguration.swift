import Foundation

/// As much of the JSON spec as the tests of Linux guests write; keys are converted to snake case.
struct VMConfiguration: Encodable {
    struct CPUs: Encodable {
        struct Topology: Encodable { var threadsPerCore: Int, coresPerDie: Int, diesPerPackage: Int, packages: Int }
        struct Affinity: Encodable { var vcpu: Int, hostCpus: [Int] }
        var bootVcpus: Int, maxVcpus: Int
        var topology: Topology?
        var affinity: [Affinity]?
    }
    struct Memory: Encodable {
        var size: UInt64
        var shared: Bool?
        var hugepages: Bool?
        var prefault: Bool?
        var dirtyLog: String?
    }
    struct Payload: Encodable { var kernel: String, initramfs: String, cmdline: String }
    struct Disk: Encodable {
        var path: String
        var id: String?
        var readonly: Bool?
        var direct: Bool?
        var serial: String?
        var logicalBlockSize: Int?
        var imageType = "Raw"
    }
    struct Net: Encodable {
        var tap: String
        var id: String?
        var ip: String?
        var mask: String?
        var mac: String?
        var mtu: Int?
        var numQueues: Int?
        var offloadTso: Bool?
        var offloadUfo: Bool?
        var offloadCsum: Bool?
    }
    struct Vsock: Encodable {
        var cid: UInt32
        var socket: String
    }
    struct Rng: Encodable { var src = "/dev/urandom" }

    /// What a serial port or console is connected to.
    struct Port: Encodable {
        var mode: String
        var file: String?
        var socket: String?

        static let off = Port(mode: "Off")
        static let null = Port(mode: "Null")
        static let tty = Port(mode: "Tty")
        static let pty = Port(mode: "Pty")
        static func file(_ path: String) -> Port { Port(mode: "File", file: path) }
        static func socket(_ path: String) -> Port { Port(mode: "Socket", socket: path) }
    }

    var cpus = CPUs(bootVcpus: 1, maxVcpus: 1)
    var memory = Memory(size: 256 << 20)
    var payload: Payload
    var disks: [Disk]?
    var net: [Net]?
    var vsock: Vsock?
    var rng = Rng()
    var serial = Port.tty
    var console = Port.off

    /// A machine that boots Debian's kernel.
    ///
    /// - Parameters:
    ///   - tests: the names of the tests that the guest's init runs in this order (see Tests/Lab/guest-init).
    ///   - words: further words of the kernel's command line.
    init(_ kernel: GuestFiles.Kernel = .vmlinux, tests: String..., words: String...) throws {
        payload = Payload(
            kernel: try GuestFiles.kernel(kernel), initramfs: try GuestFiles.path("initramfs"),
            cmdline: (["console=ttyS0 quiet panic=-1", "swiftlet.test=\(tests.joined(separator: ","))"] + words)
                .joined(separator: " "))
    }

    /// The spec's text.
    func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}
