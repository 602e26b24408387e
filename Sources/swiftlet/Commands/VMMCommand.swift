import ArgumentParser
import Machine
import Spec

/// `swiftlet vmm`, with the flags of `cloud-hypervisor`.
struct VMMCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vmm", _superCommandName: "swiftlet",
        abstract: "Wait on a socket for a VM, or boot one from the flags of cloud-hypervisor.",
        discussion: "Values are lists of key=value pairs, for example --disk path=a.raw,readonly=on path=b.raw.",
        version: Version.banner)

    @OptionGroup var machine: MachineFlags
    @OptionGroup var filter: FilterFlag
    @OptionGroup var api: APIOptions
    @OptionGroup var logging: LoggingOptions
    @OptionGroup var later: UnsupportedFlags

    func run() throws {
        let status = VMSession.run(SessionOptions(logging, api), words: FlagPlaces.words) {
            try later.refuse()
            try filter.refuse()
            return try machine.start(api)
        }
        throw ExitCode(status)
    }
}

/// `swiftlet vmm` without the flags that it would only refuse.
struct BriefVMMCommand: ParsableCommand {
    static let configuration = VMMCommand.configuration

    @OptionGroup var machine: MachineFlags
    @OptionGroup var filter: FilterFlag
    @OptionGroup var api: APIOptions
    @OptionGroup var logging: LoggingOptions

    func run() throws {
        let status = VMSession.run(SessionOptions(logging, api), words: FlagPlaces.words) {
            try filter.refuse()
            return try machine.start(api)
        }
        throw ExitCode(status)
    }
}

/// The flag for the filter of system calls.
struct FilterFlag: ParsableArguments {
    @Option(help: "The system call filter; only false works in this version.") var seccomp: String?

    /// Throws for what this version does not have.
    func refuse() throws(UsageError) {
        if let seccomp, seccomp != "false" {
            throw UsageError(
                "--seccomp: '\(seccomp)' is not supported by this version of swiftlet; leave it out or give false")
        }
    }
}

/// The flags that describe a VM.
struct MachineFlags: ParsableArguments {
    @Option(help: "A kernel: vmlinux with a PVH entry, or bzImage.", completion: .file()) var kernel: String?
    @Option(help: "Firmware that is entered like a kernel.", completion: .file()) var firmware: String?
    @Option(parsing: .unconditional, help: "The kernel's command line.") var cmdline: String?
    @Option(help: "The initial file system.", completion: .file()) var initramfs: String?
    @Option(help: "boot=N,max=N,topology=T:C:D:P,affinity=[V@[P,P]],max_phys_bits=N") var cpus: String?
    @Option(help: "size=1G,shared=on,hugepages=on,hugepage_size=2M,prefault=on,mergeable=on,thp=off,dirty_log=ring")
    var memory: String?
    @Option(parsing: .upToNextOption, help: "path=IMAGE,readonly=on,direct=on,num_queues=N,serial=TEXT,id=ID …")
    var disk: [String] = []
    @Option(parsing: .upToNextOption, help: "tap=NAME,ip=A.B.C.D,mask=A.B.C.D,mac=XX:XX:XX:XX:XX:XX,mtu=N …")
    var net: [String] = []
    @Option(help: "src=/dev/urandom") var rng: String?
    @Option(help: "off|null|tty|pty|file=PATH|socket=PATH") var serial: String?
    @Option(help: "off|null|tty|pty|file=PATH|socket=PATH") var console: String?
    @Option(help: "off|null|tty|pty|file=PATH,iobase=PORT") var debugConsole: String?
    @Option(help: "cid=N,socket=PATH,id=ID") var vsock: String?
    @Option(
        help:
            "source_url=file:///DIRECTORY,resume=on,prefault=on,memory_restore_mode=copy|ondemand,prefetch=off,disks=copy"
    )
    var restore: String?
    @Option(
        name: .customLong("override"),
        help: "Of the VM of --restore: disks.ID.path=FILE, net.ID.tap=NAME, serial.file=FILE …")
    var overrides: [String] = []

    /// The VM of the flags; nil where clients are to create one.
    func start(_ api: APIOptions) throws -> VMStart? {
        guard let restore else {
            guard overrides.isEmpty else { throw UsageError("--override: it is for a snapshot; name one by --restore") }
            return try configuration(api).map { .boot($0) }
        }
        guard flags.isEmpty, kernel == nil, firmware == nil else {
            throw UsageError(
                "--restore: a snapshot has its VM's configuration, which other flags cannot change; give --restore alone"
            )
        }
        return .restore(try RestoreRequest.parse(flag: restore, overrides: overrides))
    }

    private var flags: VMFlags {
        var flags = VMFlags()
        (flags.kernel, flags.firmware, flags.cmdline, flags.initramfs) = (kernel, firmware, cmdline, initramfs)
        (flags.cpus, flags.memory, flags.rng) = (cpus, memory, rng)
        (flags.disks, flags.net) = (disk, net)
        (flags.serial, flags.console, flags.debugConsole) = (serial, console, debugConsole)
        flags.vsock = vsock
        return flags
    }

    private func configuration(_ api: APIOptions) throws -> ParsedConfig? {
        let flags = flags
        guard kernel != nil || firmware != nil else {
            if flags.isEmpty, api.apiSocket != nil { return nil }
            throw UsageError(
                "--kernel: nothing to boot; name a kernel or --firmware, or an --api-socket alone to wait for clients "
                    + "(swiftlet run boots a JSON spec)")
        }
        return try VMConfig.fromFlags(flags)
    }
}
