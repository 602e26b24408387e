/// Wrong payloads, disks and random number generators.
extension Rejection {
    static let payloadAndDisks: [Rejection] = [
        Rejection(
            #"{"payload":{"cmdline":"quiet"}}"#,
            #"$.payload: names neither a kernel nor a firmware; give one, or leave the payload out for the sel"#
                + #"f-test"#),
        Rejection(
            #"{"payload":{"kernel":"/k","firmware":"/f"}}"#,
            #"$.payload.kernel: "/k" stands beside a firmware; keep one of the two"#),
        Rejection(
            #"{"payload":{"kernel":""}}"#,
            #"$.payload.kernel: empty; give a path or remove the field"#),
        Rejection(
            #"{"payload":{"kernel":"/k","cmdline":"a\u0000b","initramfs":"/i\u0000"}}"#,
            #"$.payload.initramfs: "/i\u0000" contains a NUL character; remove it"#,
            #"$.payload.cmdline: "a\u0000b" contains a NUL character; remove it"#),
        Rejection(
            #"{"disks":[{}]}"#,
            #"$.disks[0].path: missing; give the path of a disk image"#),
        Rejection(
            #"{"disks":[{"path":"/a","readonly":false},{"path":"/a"}]}"#,
            #"$.disks[1].path: "/a" is already written by $.disks[0]; two writers destroy a file system; set r"#
                + #"eadonly or use a copy"#),
        Rejection(
            #"{"disks":[{"path":"/a","readonly":true},{"path":"/a","readonly":true},{"path":"/a"}]}"#,
            #"$.disks[2].path: "/a" is also the image of $.disks[0], and one of the two writes to it; set read"#
                + #"only on both or use a copy"#),
        Rejection(
            #"{"disks":[{"path":"/a"},{"path":"/a","readonly":true}]}"#,
            #"$.disks[1].path: "/a" is also the image of $.disks[0], and one of the two writes to it; set read"#
                + #"only on both or use a copy"#),
        Rejection(
            #"{"disks":[{"path":"/a","id":"__\u0301x"}]}"#,
            "$.disks[0].id: \"__\u{301}x\" begins with '__', which is kept for built-in devices; choose another name"),
        Rejection(
            #"{"disks":[{"path":"/a","id":"x"},{"path":"/b","id":"x"}],"net":[{"id":"x"}]}"#,
            #"$.disks[1].id: "x" is already the id of $.disks[0]; choose another"#,
            #"$.net[0].id: "x" is already the id of $.disks[0]; choose another"#),
        Rejection(
            #"{"disks":[{"path":"/a","id":"__x"},{"path":"/b","id":""}]}"#,
            #"$.disks[0].id: "__x" begins with '__', which is kept for built-in devices; choose another name"#,
            #"$.disks[1].id: empty; give a name or remove the field to have one chosen"#),
        Rejection(
            #"{"disks":[{"path":"/a","num_queues":0,"queue_size":0}]}"#,
            #"$.disks[0].num_queues: got 0, expected a whole number from 1 to 1024"#,
            #"$.disks[0].queue_size: got 0, expected a whole number from 4 to 32768"#),
        Rejection(
            #"{"disks":[{"path":"/a","num_queues":2}]}"#,
            #"$.disks[0].num_queues: 2 queues for 1 boot vCPU; give at most one for each"#),
        Rejection(
            #"{"disks":[{"path":"/a","queue_size":100}]}"#,
            #"$.disks[0].queue_size: got 100, expected a power of two from 4 to 32768"#),
        Rejection(
            #"{"disks":[{"path":"/a","queue_size":2}]}"#,
            #"$.disks[0].queue_size: got 2, expected a whole number from 4 to 32768"#),
        Rejection(
            #"{"disks":[{"path":"/a","queue_size":65536}]}"#,
            #"$.disks[0].queue_size: got 65536, expected a whole number from 4 to 32768"#),
        Rejection(
            #"{"disks":[{"path":"/a","serial":"123456789012345678901"}]}"#,
            #"$.disks[0].serial: "123456789012345678901" is 21 bytes long, expected at most 20"#),
        Rejection(
            #"{"disks":[{"path":"/a","image_type":"Qcow2"},{"path":"/b","image_type":"FixedVhd"},{"path":"/c","#
                + #""image_type":"Vhdx"},{"path":"/d","image_type":"FlatVmdk"}]}"#,
            #"$.disks[0].image_type: Qcow2 is not supported yet by this version; only Raw and Unknown are; con"#
                + #"vert the image with 'qemu-img convert -O raw'"#,
            #"$.disks[1].image_type: FixedVhd is not supported yet by this version; only Raw and Unknown are; "#
                + #"convert the image with 'qemu-img convert -O raw'"#,
            #"$.disks[2].image_type: Vhdx is not supported yet by this version; only Raw and Unknown are; conv"#
                + #"ert the image with 'qemu-img convert -O raw'"#,
            #"$.disks[3].image_type: FlatVmdk is not supported yet by this version; only Raw and Unknown are; "#
                + #"convert the image with 'qemu-img convert -O raw'"#),
        Rejection(
            #"{"disks":[{"path":"/a","image_type":"raw"}]}"#,
            #"$.disks[0].image_type: got "raw", expected one of Raw, Unknown, Qcow2, FixedVhd, Vhdx, FlatVmdk;"#
                + #" did you mean 'Raw'?"#),
        Rejection(
            #"{"disks":[{"path":"/a","lock_granularity":"Half"}]}"#,
            #"$.disks[0].lock_granularity: got "Half", expected one of ByteRange, Full"#),
        Rejection(
            #"{"disks":[{"path":"/a","logical_block_size":513}]}"#,
            #"$.disks[0].logical_block_size: got 513, expected a power of two from 512 to 4096"#),
        Rejection(
            #"{"disks":[{"path":"/a","logical_block_size":1000,"physical_block_size":512}]}"#,
            #"$.disks[0].logical_block_size: got 1000, expected a power of two from 512 to 4096"#,
            #"$.disks[0].physical_block_size: 512 is less than the logical block size, 1000; raise it"#),
        Rejection(
            #"{"disks":[{"path":"/a","logical_block_size":4096,"physical_block_size":512}]}"#,
            #"$.disks[0].physical_block_size: 512 is less than the logical block size, 4096; raise it"#),
        Rejection(
            #"{"rng":{"src":""}}"#,
            #"$.rng.src: empty; give a path or remove the field"#),
        Rejection(
            #"{"rng":{"id":"__console"}}"#,
            #"$.rng.id: "__console" begins with '__', which is kept for built-in devices; choose another name"#),
    ]
}
