// swift-tools-version: 6.2

import PackageDescription

/// What every Swift target of this package is held to.
let house: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
]

/// Flags for the released executable, which stays below 20 MiB. SwiftPM calls them unsafe: SwiftletClient, and Host
/// below it, go without, since other packages depend on them. `toolset.json`, which the executable is built
/// with, has those that dependencies need as well.
func released(_ flags: [String]) -> SwiftSetting {
    .unsafeFlags(flags, .when(platforms: [.linux], configuration: .release))
}

/// For the targets that only the executable is made of: the linker drops each function that nothing calls.
let linkedOnce: [SwiftSetting] =
    house + [
        released([
            "-Xfrontend", "-internalize-at-link", "-Xfrontend", "-function-sections",
            "-Xfrontend", "-disable-concrete-type-metadata-mangled-name-accessors",
        ])
    ]
/// For those of them that do nothing while a guest runs but answer people, and for devices whose time the kernel takes:
/// small rather than fast.
let small: [SwiftSetting] = linkedOnce + [released(["-Osize"])]

/// A room: a library target under `Sources` that other rooms import.
func room(_ name: String, _ dependencies: [Target.Dependency] = [], _ settings: [SwiftSetting] = linkedOnce) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// The tests of a room, which mirror `Sources`.
func tests(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.target(name: name)] + dependencies, swiftSettings: house)
}

let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
/// The HTTP codec, without SwiftNIO's own sockets: descriptors travel beside the bytes on ours.
let http: [Target.Dependency] = ["NIOCore", "NIOEmbedded", "NIOHTTP1"].map { .product(name: $0, package: "swift-nio") }

/// TLS, without sockets as well.
let tls: [Target.Dependency] =
    ["NIOCore", "NIOTLS"].map { .product(name: $0, package: "swift-nio") }
    + [.product(name: "NIOSSL", package: "swift-nio-ssl")]

let package = Package(
    name: "swiftlet",
    products: [
        .executable(name: "swiftlet", targets: ["swiftlet"]),
        .library(name: "SwiftletClient", targets: ["SwiftletClient"]),
    ],
    traits: [
        .trait(name: "Zstd", description: "A migration can compress memory, with libzstd.")
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    ],
    targets: [
        .target(name: "CLinux"),
        // libzstd, which nothing asks for without the trait.
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        room("Host", ["CLinux", .target(name: "CZstd", condition: .when(traits: ["Zstd"]))], house),
        room("Spec", [], small),
        room("KVM", ["Snapshot", "Host", "CLinux"]),
        room("Memory", ["Host", "CLinux"]),
        room("Snapshot", ["Host"], small),
        room("Migration", ["Memory", "Snapshot", "Host", "CLinux"], small),
        room("SecureStream", ["Host"] + tls, small),
        room("CharBackend", ["Host"], small),
        room("PCI", ["Snapshot", "Memory", "KVM", "Host"], small),
        room("Virtio", ["Snapshot", "PCI", "Memory", "KVM", "Host", "CLinux"]),
        room("VirtioBlock", ["Snapshot", "Virtio", "Memory", "Host", "CLinux"]),
        room("VirtioNet", ["Snapshot", "Virtio", "Memory", "Host", "CLinux"]),
        room("VirtioConsole", ["Snapshot", "Virtio", "Memory", "Host", "CharBackend"], small),
        room("VirtioRandom", ["Virtio", "Memory", "Host"], small),
        room("VirtioVsock", ["Snapshot", "Virtio", "Memory", "Host", "CLinux"], small),
        room("Legacy", ["Snapshot", "Host", "CharBackend"], small),
        room("Boot", ["Memory", "KVM", "Spec", "Host", "CLinux"], small),
        room(
            "Machine",
            [
                "Spec", "Host", "Snapshot", "KVM", "Memory", "PCI", "Virtio", "VirtioBlock", "VirtioNet",
                "VirtioConsole",
                "VirtioRandom", "VirtioVsock", "Legacy", "CharBackend", "Boot", "Migration", "SecureStream", "CLinux",
                logging,
            ]),
        // The API and the document that describes it, which the plug-in embeds.
        .plugin(name: "DocumentEmbedder", capability: .buildTool()),
        .target(
            name: "Control",
            dependencies: ["Machine", "Migration", "Spec", "Host", "CharBackend", "CLinux", logging] + http,
            exclude: ["OpenAPI/openapi.json"], swiftSettings: small, plugins: ["DocumentEmbedder"]),
        room("SwiftletClient", ["Host", "CLinux"] + http, house),
        .executableTarget(
            name: "swiftlet",
            dependencies: [
                "Control", "Machine", "Spec", "Host", "KVM", "Snapshot", "SelfTestImage", "SwiftletClient", arguments,
                logging,
            ],
            exclude: ["Release/LeftOut.ld", "Release/toolset.json"],
            swiftSettings: small,
            // Functions with equal code are kept once, also where their address is taken: nothing compares addresses of
            // functions. NIOPosix is left out: NIOHTTP1 depends on it by its manifest (on Linux), not by its code. Were
            // that to change, linking would fail. So are regular expressions, which FoundationEssentials depends on for
            // what nothing here does. Nothing throws C++ exceptions, so nobody looks stack frames up by their index while
            // the process runs; debuggers read the frames themselves.
            linkerSettings: [
                .unsafeFlags(
                    [
                        "-use-ld=lld", "-Xlinker", "--icf=all", "-Xlinker", "--no-eh-frame-hdr",
                        "-Xlinker", "--remap-inputs=*/NIOPosix.build/*.o=/dev/null",
                        "-Xlinker", "--remap-inputs=*/libswift_StringProcessing.a=/dev/null",
                        "-Xlinker", "--remap-inputs=*/libswift_RegexParser.a=/dev/null",
                        "-Xlinker", "\(Context.packageDirectory)/Sources/swiftlet/Release/LeftOut.ld",
                    ], .when(platforms: [.linux], configuration: .release))
            ]),

        // The self-test guest: Embedded Swift, built for the bare machine by the plug-in. Its path holds the guest's
        // sources too, so that the package is planned anew, with its list of inputs, when one is added or removed.
        .plugin(name: "GuestBuilder", capability: .buildTool(), path: "Firmware", sources: ["GuestBuilder"]),
        .target(name: "SelfTestImage", swiftSettings: house, plugins: ["GuestBuilder"]),

        // Helpers that several test targets share: deadlines, scratch directories, fake guests.
        .target(
            name: "TestSupport", dependencies: ["CLinux", "Host", "Memory", "KVM", "PCI", "Virtio"],
            path: "Tests/TestSupport", swiftSettings: house),
        tests("TestSupport"),
        tests("Host", ["TestSupport"]),
        tests("Spec"),
        tests("KVM", ["TestSupport", "Memory", "Snapshot", "Host", "CLinux"]),
        tests("Memory", ["TestSupport", "Host", "CLinux"]),
        tests("Snapshot", ["TestSupport", "Host"]),
        tests("Migration", ["TestSupport", "Snapshot", "Host"]),
        tests("SecureStream", ["TestSupport", "Migration", "Host"]),
        tests("CharBackend", ["TestSupport", "Host", "CLinux"]),
        tests("PCI", ["TestSupport", "Snapshot", "KVM", "Memory", "Host"]),
        tests("Virtio", ["TestSupport", "Snapshot", "PCI", "KVM", "Memory", "Host"]),
        tests("VirtioBlock", ["TestSupport", "Snapshot", "Virtio", "Memory", "Host"]),
        tests("VirtioNet", ["TestSupport", "Snapshot", "Virtio", "Memory", "Host"]),
        tests("VirtioConsole", ["TestSupport", "Snapshot", "Virtio", "Memory", "Host", "CharBackend", "CLinux"]),
        tests("VirtioRandom", ["TestSupport", "Virtio", "Memory", "Host"]),
        tests("VirtioVsock", ["TestSupport", "Snapshot", "Virtio", "Memory", "Host", "CLinux"]),
        tests("Control", ["TestSupport", "Machine", "Spec", "Host", "CharBackend", "CLinux", logging]),
        tests("SwiftletClient", ["TestSupport", "Host", "swiftlet"]),
        tests("Legacy", ["TestSupport", "Snapshot", "Host", "CharBackend", "CLinux"]),
        tests("Boot", ["TestSupport", "Memory", "KVM", "Spec", "Host"]),
        tests(
            "Machine",
            ["TestSupport", "Snapshot", "Spec", "Boot", "CharBackend", "KVM", "Memory", "Host", "SelfTestImage"]),
        tests("SelfTestImage", ["TestSupport"]),
        // The built executable as its users meet it: arguments, exit statuses, bad input.
        .testTarget(
            name: "CommandLineTests", dependencies: ["TestSupport", "Host", "swiftlet", arguments], swiftSettings: house
        ),
        // The API of the built executable, over curl and raw sockets, as its clients use it.
        .testTarget(name: "APITests", dependencies: ["TestSupport", "Host", "swiftlet"], swiftSettings: house),
        // Real Linux guests; they need a KVM that boots Linux (see Tests/Lab).
        .testTarget(
            name: "LinuxGuestTests", dependencies: ["TestSupport", "Host", "swiftlet"], swiftSettings: house),
    ]
)
