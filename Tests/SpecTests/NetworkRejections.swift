/// Wrong networks and consoles.
extension Rejection {
    static let netAndConsoles: [Rejection] = [
        Rejection(
            #"{"net":[{"mac":"2e:89:a8:e4:92"},{"mac":"+e:89:a8:e4:92:95"},{"mac":"2e:89:a8:e4:92:9g"}]}"#,
            #"$.net[0].mac: got "2e:89:a8:e4:92", expected a MAC address like 2e:89:a8:e4:92:95"#,
            #"$.net[1].mac: got "+e:89:a8:e4:92:95", expected a MAC address like 2e:89:a8:e4:92:95"#,
            #"$.net[2].mac: got "2e:89:a8:e4:92:9g", expected a MAC address like 2e:89:a8:e4:92:95"#),
        Rejection(
            #"{"net":[{"mac":"01:00:5e:00:00:01"},{"host_mac":"00:00:00:00:00:00"}]}"#,
            #"$.net[0].mac: 01:00:5e:00:00:01 is a multicast address; make its first byte even"#,
            #"$.net[1].host_mac: 00:00:00:00:00:00 is no station's address; choose another, or remove it to ha"#
                + #"ve one made"#),
        Rejection(
            #"{"net":[{"ip":"1.2.3"},{"ip":"1.2.3.256"},{"ip":"01.2.3.4"},{"ip":"fe80::1"}]}"#,
            #"$.net[0].ip: got "1.2.3", expected an IPv4 address like 192.168.249.1"#,
            #"$.net[1].ip: got "1.2.3.256", expected an IPv4 address like 192.168.249.1"#,
            #"$.net[2].ip: got "01.2.3.4", expected an IPv4 address like 192.168.249.1"#,
            #"$.net[3].ip: "fe80::1": IPv6 is not supported yet by this version; give IPv4"#),
        Rejection(
            #"{"net":[{"ip":"10.0.0.1"},{"mask":"255.255.255.0"},{"ip":"10.0.0.1","mask":"255.0.255.0"}]}"#,
            #"$.net[0].mask: missing beside ip 10.0.0.1; give the network mask"#,
            #"$.net[1].ip: missing beside mask 255.255.255.0; give the host's address"#,
            #"$.net[2].mask: 255.0.255.0 is no network mask; expected one like 255.255.255.0"#),
        Rejection(
            #"{"net":[{"mtu":1279},{"mtu":65536}]}"#,
            #"$.net[0].mtu: got 1279, expected a whole number from 1280 to 65535"#,
            #"$.net[1].mtu: got 65536, expected a whole number from 1280 to 65535"#),
        Rejection(
            #"{"net":[{"num_queues":3},{"num_queues":1}]}"#,
            #"$.net[1].num_queues: got 1, expected a whole number from 2 to 1024"#),
        Rejection(
            #"{"net":[{"num_queues":3}]}"#,
            #"$.net[0].num_queues: got 3, expected an even number; queues come in pairs"#),
        Rejection(
            #"{"net":[{"num_queues":4}]}"#,
            #"$.net[0].num_queues: 4 queues for 1 boot vCPU; give at most two for each"#),
        Rejection(
            #"{"net":[{"queue_size":255}]}"#,
            #"$.net[0].queue_size: got 255, expected a power of two from 2 to 32768"#),
        Rejection(
            #"{"net":[{"offload_csum":false}]}"#,
            #"$.net[0].offload_csum: false while offload_tso or offload_ufo is true; they need checksums, set "#
                + #"them to false too"#),
        Rejection(
            #"{"net":[{"tap":""},{"tap":"a/b"},{"tap":"sixteen-letters-"}]}"#,
            #"$.net[0].tap: got "", expected an interface name: 1 to 15 letters, digits or signs without '/', "#
                + #"':' or spaces"#,
            #"$.net[1].tap: got "a/b", expected an interface name: 1 to 15 letters, digits or signs without '/"#
                + #"', ':' or spaces"#,
            #"$.net[2].tap: got "sixteen-letters-", expected an interface name: 1 to 15 letters, digits or sig"#
                + #"ns without '/', ':' or spaces"#),
        Rejection(
            #"{"net":[{"tap":"t0"},{"tap":"t0"}]}"#,
            #"$.net[1].tap: "t0" is already used by $.net[0]; choose another"#),
        Rejection(
            #"{"console":{}}"#,
            #"$.console.mode: missing; give one of Off, Null, Tty, File, Pty, Socket"#),
        Rejection(
            #"{"console":{"mode":"tty"}}"#,
            #"$.console.mode: got "tty", expected one of Off, Null, Tty, File, Pty, Socket; did you mean 'Tty'?"#),
        Rejection(
            #"{"console":{"mode":"File"},"serial":{"mode":"Socket"}}"#,
            #"$.serial.socket: missing; mode Socket needs the socket's path"#,
            #"$.console.file: missing; mode File needs the file's path"#),
        Rejection(
            #"{"console":{"mode":"Off"},"serial":{"mode":"File","file":""}}"#,
            #"$.serial.file: empty; give a path or remove the field"#),
        Rejection(
            #"{"console":{"mode":"Tty"},"serial":{"mode":"Tty"}}"#,
            #"$.serial.mode: Tty is already the mode of $.console; only one can have the terminal, turn one off"#),
        Rejection(
            #"{"console":{"mode":"Off"},"serial":{"mode":"Tty"},"debug_console":{"mode":"Tty"}}"#,
            #"$.debug_console.mode: Tty is already the mode of $.serial; only one can have the terminal, turn "#
                + #"one off"#),
        Rejection(
            #"{"debug_console":{"mode":"Socket"}}"#,
            #"$.debug_console.mode: Socket is not possible for a debug console; use Pty, Tty or File"#),
        Rejection(
            #"{"debug_console":{"mode":"File","iobase":1016}}"#,
            #"$.debug_console.file: missing; mode File needs the file's path"#,
            #"$.debug_console.iobase: port 1016 belongs to the serial port; choose another, like 233 (0xe9)"#),
        Rejection(
            #"{"debug_console":{"mode":"Null","iobase":65536}}"#,
            #"$.debug_console.iobase: got 65536, expected a whole number from 0 to 65535"#),
        Rejection(
            #"{"debug_console":{"mode":"Pty","socket":"/s"}}"#,
            #"$.debug_console.socket: unknown; allowed: file, iobase, mode"#),
        Rejection(
            #"{"serial":{"mode":"Off","id":"x"}}"#,
            #"$.serial.id: unknown; allowed: file, iommu, mode, socket"#),
    ]
}
