/// Wrong types, processors and memory.
extension Rejection {
    static let types: [Rejection] = [
        Rejection(
            #"[]"#,
            #"$: got a list, expected an object"#),
        Rejection(
            #""x""#,
            #"$: got "x" (a string), expected an object"#),
        Rejection(
            #"{"cpus":[]}"#,
            #"$.cpus: got a list, expected an object"#),
        Rejection(
            #"{"disks":{}}"#,
            #"$.disks: got an object, expected a list"#),
        Rejection(
            #"{"disks":[1]}"#,
            #"$.disks[0]: got 1 (a number), expected an object"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":1.5,"max_vcpus":1}}"#,
            #"$.cpus.boot_vcpus: got 1.5, expected a whole number from 1 to 4096"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":-1,"max_vcpus":1e400}}"#,
            #"$.cpus.boot_vcpus: got -1, expected a whole number from 1 to 4096"#,
            #"$.cpus.max_vcpus: got 1e400, expected a whole number from 1 to 4096"#
        ),
        Rejection(
            #"{"cpus":{"boot_vcpus":18446744073709551616,"max_vcpus":true}}"#,
            #"$.cpus.boot_vcpus: got 18446744073709551616, expected a whole number from 1 to 4096"#,
            #"$.cpus.max_vcpus: got true (a boolean), expected a whole number from 1 to 4096"#),
        Rejection(
            #"{"memory":{"size":18446744073709551616}}"#,
            #"$.memory.size: got 18446744073709551616, expected a whole number from 16777216 to 70368744177664"#),
        Rejection(
            #"{"memory":{"size":1e30}}"#,
            #"$.memory.size: got 1e30, expected a whole number from 16777216 to 70368744177664"#),
        Rejection(
            #"{"memory":{"size":-1}}"#,
            #"$.memory.size: got -1, expected a whole number from 16777216 to 70368744177664"#),
        Rejection(
            #"{"memory":{"size":null}}"#,
            #"$.memory.size: missing; give a whole number from 16777216 to 70368744177664"#),
        Rejection(
            #"{"memory":{"size":536870912,"shared":"on"}}"#,
            #"$.memory.shared: got "on" (a string), expected true or false"#),
        Rejection(
            #"{"memory":{"size":536870912,"shared":1}}"#,
            #"$.memory.shared: got 1 (a number), expected true or false"#),
        Rejection(
            #"{"memory":{"size":536870912,"shared":1e400}}"#,
            #"$.memory.shared: got 1e400 (a number), expected true or false"#),
        Rejection(
            #"{"memory":{"size":01}}"#,
            #"$.memory.size: got 01, expected a whole number from 16777216 to 70368744177664"#),
        Rejection(
            #"{"disks":[{"path":7}]}"#,
            #"$.disks[0].path: got 7 (a number), expected a path"#),
        Rejection(
            #"{"cpu":{}}"#,
            #"$.cpu: unknown; did you mean 'cpus'?"#),
        Rejection(
            #"{"memory":{"size":536870912,"share":true}}"#,
            #"$.memory.share: unknown; did you mean 'shared'?"#),
        Rejection(
            #"{"zzz":1}"#,
            #"$.zzz: unknown; allowed: balloon, console, cpus, debug_console, devices, disks, fs, gdb, generic"#
                + #"_vhost_user, iommu, ivshmem, landlock_enable, landlock_rules, memory, net, numa, payload, pci_se"#
                + #"gments, platform, pmem, pvmemcontrol, pvpanic, rate_limit_groups, rng, rtc, serial, tpm, user_de"#
                + #"vices, vdpa, vsock, watchdog"#),
        Rejection(
            #"{"a\u0000b c":1}"#,
            #"$["a\u0000b c"]: unknown; allowed: balloon, console, cpus, debug_console, devices, disks, fs, gd"#
                + #"b, generic_vhost_user, iommu, ivshmem, landlock_enable, landlock_rules, memory, net, numa, paylo"#
                + #"ad, pci_segments, platform, pmem, pvmemcontrol, pvpanic, rate_limit_groups, rng, rtc, serial, tp"#
                + #"m, user_devices, vdpa, vsock, watchdog"#),
    ]

    static let cpus: [Rejection] = [
        Rejection(
            #"{"cpus":{}}"#,
            #"$.cpus.boot_vcpus: missing; give a whole number from 1 to 4096"#,
            #"$.cpus.max_vcpus: missing; give a whole number from 1 to 4096"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":0,"max_vcpus":4097}}"#,
            #"$.cpus.boot_vcpus: got 0, expected a whole number from 1 to 4096"#,
            #"$.cpus.max_vcpus: got 4097, expected a whole number from 1 to 4096"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":4,"max_vcpus":2}}"#,
            #"$.cpus.max_vcpus: 2 is less than boot_vcpus, 4; raise it or lower boot_vcpus"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":1,"max_vcpus":1,"max_phys_bits":35}}"#,
            #"$.cpus.max_phys_bits: got 35, expected a whole number from 36 to 52"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":4,"max_vcpus":4,"topology":{"threads_per_core":2,"cores_per_die":1,"dies_p"#
                + #"er_package":1,"packages":1}}}"#,
            #"$.cpus.topology: 2 x 1 x 1 x 1 is 2, but max_vcpus is 4; make them equal"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":4,"max_vcpus":4,"topology":{"threads_per_core":4,"cores_per_die":0,"dies_p"#
                + #"er_package":65536,"packages":1}}}"#,
            #"$.cpus.topology.threads_per_core: got 4, expected a whole number from 1 to 2"#,
            #"$.cpus.topology.cores_per_die: got 0, expected a whole number from 1 to 4096"#,
            #"$.cpus.topology.dies_per_package: got 65536, expected a whole number from 1 to 4096"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":1,"max_vcpus":1,"topology":{}}}"#,
            #"$.cpus.topology.threads_per_core: missing; give a whole number from 1 to 2"#,
            #"$.cpus.topology.cores_per_die: missing; give a whole number from 1 to 4096"#,
            #"$.cpus.topology.dies_per_package: missing; give a whole number from 1 to 4096"#,
            #"$.cpus.topology.packages: missing; give a whole number from 1 to 4096"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":2,"max_vcpus":2,"affinity":[{"vcpu":2,"host_cpus":[1]},{"vcpu":0,"host_cpu"#
                + #"s":[]},{"vcpu":0,"host_cpus":[3]}]}}"#,
            #"$.cpus.affinity[0].vcpu: 2 is no vCPU of this VM; its vCPUs are 0 to 1"#,
            #"$.cpus.affinity[1].host_cpus: empty; name at least one host CPU or remove the entry"#,
            #"$.cpus.affinity[2].vcpu: vCPU 0 is bound twice; put all its host CPUs into one entry"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":2,"max_vcpus":2,"affinity":[{"vcpu":1}]}}"#,
            #"$.cpus.affinity[0].host_cpus: missing; give a list of host CPU numbers"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":2,"max_vcpus":2,"affinity":[{"vcpu":1,"host_cpus":[0,-1,"2",8192]}]}}"#,
            #"$.cpus.affinity[0].host_cpus[1]: got -1, expected a whole number from 0 to 8191"#,
            #"$.cpus.affinity[0].host_cpus[2]: got "2" (a string), expected a whole number from 0 to 8191"#,
            #"$.cpus.affinity[0].host_cpus[3]: got 8192, expected a whole number from 0 to 8191"#),
    ]

    static let memory: [Rejection] = [
        Rejection(
            #"{"memory":{"size":16777215}}"#,
            #"$.memory.size: got 16777215, expected a whole number from 16777216 to 70368744177664"#),
        Rejection(
            #"{"memory":{"size":70368744181760}}"#,
            #"$.memory.size: got 70368744181760, expected a whole number from 16777216 to 70368744177664"#),
        Rejection(
            #"{"memory":{"size":16777217}}"#,
            #"$.memory.size: got 16777217, expected a multiple of the page size, 4096"#),
        Rejection(
            #"{"memory":{"size":17825792,"hugepages":true}}"#,
            #"$.memory.size: got 17825792, expected a multiple of the huge page size, 2097152"#),
        Rejection(
            #"{"memory":{"size":536870912,"hugepages":true,"hugepage_size":1073741824}}"#,
            #"$.memory.size: got 536870912, expected a multiple of the huge page size, 1073741824"#),
        Rejection(
            #"{"memory":{"size":536870912,"hugepage_size":2097152}}"#,
            #"$.memory.hugepage_size: got 2097152 while hugepages is false; set hugepages to true"#),
        Rejection(
            #"{"memory":{"size":536870912,"hugepages":true,"hugepage_size":3000000}}"#,
            #"$.memory.hugepage_size: got 3000000, expected 2097152 or 1073741824, the huge pages of x86_64"#),
        Rejection(
            #"{"memory":{"size":536870912,"hugepages":true,"hugepage_size":0}}"#,
            #"$.memory.hugepage_size: got 0, expected 2097152 or 1073741824, the huge pages of x86_64"#),
        Rejection(
            #"{"memory":{"size":536870912,"shared":true,"mergeable":true}}"#,
            #"$.memory.mergeable: true while shared is true; only private memory can be merged, set one to false"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":1,"max_vcpus":1,"max_phys_bits":36},"memory":{"size":68719476736}}"#,
            #"$.memory.size: 68719476736 bytes do not fit into 36 address bits; raise $.cpus.max_phys_bits"#),
    ]
}
