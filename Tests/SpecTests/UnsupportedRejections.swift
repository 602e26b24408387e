/// Parts of the format that this version does not implement.
extension Rejection {
    static let unsupported: [Rejection] = [
        Rejection(
            #"{"fs":[{"tag":"x"}],"balloon":{"size":1},"pmem":[{}],"devices":[{}]}"#,
            #"$.balloon: 'balloon' is not supported yet by this version; remove it"#,
            #"$.devices: 'devices' is not supported yet by this version; remove it"#,
            #"$.fs: 'fs' is not supported yet by this version; remove it"#,
            #"$.pmem: 'pmem' is not supported yet by this version; remove it"#),
        Rejection(
            #"{"user_devices":[{}],"vdpa":[{}],"pvpanic":true,"iommu":true,"numa":[{}],"watchdog":true,"tpm":{"#
                + #"},"landlock_enable":true}"#,
            #"$.iommu: 'iommu' is not supported yet by this version; remove it"#,
            #"$.landlock_enable: 'landlock_enable' is not supported yet by this version; remove it"#,
            #"$.numa: 'numa' is not supported yet by this version; remove it"#,
            #"$.pvpanic: 'pvpanic' is not supported yet by this version; remove it"#,
            #"$.tpm: 'tpm' is not supported yet by this version; remove it"#,
            #"$.user_devices: 'user_devices' is not supported yet by this version; remove it"#,
            #"$.vdpa: 'vdpa' is not supported yet by this version; remove it"#,
            #"$.watchdog: 'watchdog' is not supported yet by this version; remove it"#),
        Rejection(
            #"{"landlock_rules":[{}],"pci_segments":[{}],"ivshmem":{},"rtc":{},"gdb":true,"generic_vhost_user""#
                + #":[{}],"rate_limit_groups":[{}],"pvmemcontrol":{}}"#,
            #"$.gdb: 'gdb' is not supported yet by this version; remove it"#,
            #"$.generic_vhost_user: 'generic_vhost_user' is not supported yet by this version; remove it"#,
            #"$.ivshmem: 'ivshmem' is not supported yet by this version; remove it"#,
            #"$.landlock_rules: 'landlock_rules' is not supported yet by this version; remove it"#,
            #"$.pci_segments: 'pci_segments' is not supported yet by this version; remove it"#,
            #"$.pvmemcontrol: 'pvmemcontrol' is not supported yet by this version; remove it"#,
            #"$.rate_limit_groups: 'rate_limit_groups' is not supported yet by this version; remove it"#,
            #"$.rtc: 'rtc' is not supported yet by this version; remove it"#),
        Rejection(
            #"{"platform":{"vfio_p2p_dma":false,"num_pci_segments":false},"memory":{"size":536870912,"#
                + #""hotplug_method":false,"hotplug_size":false},"net":[{"rate_limiter_config":false,"vhost_mode":[]}]}"#,
            #"$.memory.hotplug_method: false is not supported yet by this version; only "Acpi" is"#,
            #"$.memory.hotplug_size: false is not supported yet by this version; only 0 is"#,
            #"$.net[0].rate_limiter_config: got false (a boolean), expected an object"#,
            #"$.net[0].vhost_mode: [] is not supported yet by this version; only "Client" is"#,
            #"$.platform.num_pci_segments: false is not supported yet by this version; only 1 is"#,
            #"$.platform.vfio_p2p_dma: false is not supported yet by this version; only true is"#),
        Rejection(
            #"{"platform":{"num_pci_segments":2,"tdx":true,"uuid":"a","serial_numbr":"b"}}"#,
            #"$.platform.num_pci_segments: 2 is not supported yet by this version; only 1 is"#,
            #"$.platform.serial_numbr: unknown; did you mean 'serial_number'?"#,
            #"$.platform.tdx: 'tdx' is not supported yet by this version; remove it"#,
            #"$.platform.uuid: 'uuid' is not supported yet by this version; remove it"#),
        Rejection(
            #"{"cpus":{"boot_vcpus":1,"max_vcpus":1,"kvm_hyperv":true,"nested":false,"core_scheduling":"Off",""#
                + #"features":{"amx":true},"profile":"Skylake"}}"#,
            #"$.cpus.core_scheduling: "Off" is not supported yet by this version; only "Vm" is"#,
            #"$.cpus.features.amx: true is not supported yet by this version; only false is"#,
            #"$.cpus.kvm_hyperv: true is not supported yet by this version; only false is"#,
            #"$.cpus.nested: false is not supported yet by this version; only true is"#,
            #"$.cpus.profile: "Skylake" is not supported yet by this version; only "Host" is"#),
        Rejection(
            #"{"memory":{"size":536870912,"hotplug_method":"VirtioMem","hotplug_size":1073741824,"hotplugged_s"#
                + #"ize":1,"reserve":true,"zones":[{"id":"a","size":1}]}}"#,
            #"$.memory.hotplug_method: "VirtioMem" is not supported yet by this version; only "Acpi" is"#,
            #"$.memory.hotplug_size: 1073741824 is not supported yet by this version; only 0 is"#,
            #"$.memory.hotplugged_size: 1 is not supported yet by this version; only 0 is"#,
            #"$.memory.reserve: true is not supported yet by this version; only false is"#,
            #"$.memory.zones: 'zones' is not supported yet by this version; remove it"#),
        Rejection(
            #"{"payload":{"kernel":"/k","igvm":"/i","host_data":"00","fw_cfg_config":{}}}"#,
            #"$.payload.fw_cfg_config: 'fw_cfg_config' is not supported yet by this version; remove it"#,
            #"$.payload.host_data: 'host_data' is not supported yet by this version; remove it"#,
            #"$.payload.igvm: 'igvm' is not supported yet by this version; remove it"#),
        Rejection(
            #"{"disks":[{"path":"/a","iommu":true,"pci_segment":1,"pci_device_id":0,"vhost_user":true,"vhost_s"#
                + #"ocket":"/s","rate_limit_group":"g","rate_limiter_config":{"ops":{"size":1}},"queue_affinity":[1]"#
                + #","backing_files":true}]}"#,
            #"$.disks[0].backing_files: 'backing_files' is not supported yet by this version; remove it"#,
            #"$.disks[0].iommu: 'iommu' is not supported yet by this version; remove it"#,
            #"$.disks[0].pci_device_id: 'pci_device_id' is not supported yet by this version; remove it"#,
            #"$.disks[0].pci_segment: 1 is not supported yet by this version; only 0 is"#,
            #"$.disks[0].queue_affinity: 'queue_affinity' is not supported yet by this version; remove it"#,
            #"$.disks[0].rate_limit_group: 'rate_limit_group' is not supported yet by this version; remove it"#,
            #"$.disks[0].rate_limiter_config.ops: 'ops' is not supported yet by this version; remove it"#,
            #"$.disks[0].vhost_socket: 'vhost_socket' is not supported yet by this version; remove it"#,
            #"$.disks[0].vhost_user: true is not supported yet by this version; only false is"#),
        Rejection(
            #"{"net":[{"vhost_user":true,"vhost_socket":"/s","vhost_mode":"Server","fds":[3],"rate_limiter_con"#
                + #"fig":{"bandwidth":{}},"iommu":true}]}"#,
            #"$.net[0].fds: 'fds' is not supported yet by this version; remove it"#,
            #"$.net[0].iommu: 'iommu' is not supported yet by this version; remove it"#,
            #"$.net[0].rate_limiter_config.bandwidth: 'bandwidth' is not supported yet by this version; remove it"#,
            #"$.net[0].vhost_mode: "Server" is not supported yet by this version; only "Client" is"#,
            #"$.net[0].vhost_socket: 'vhost_socket' is not supported yet by this version; remove it"#,
            #"$.net[0].vhost_user: true is not supported yet by this version; only false is"#),
        Rejection(
            #"{"rng":{"src":"/dev/urandom","iommu":true},"console":{"mode":"Off","pci_segment":2}}"#,
            #"$.rng.iommu: 'iommu' is not supported yet by this version; remove it"#,
            #"$.console.pci_segment: 2 is not supported yet by this version; only 0 is"#),
    ]
}
