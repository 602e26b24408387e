import Host
import KVM

/// What the host offers beside running a guest.
enum HostFindings {
    /// KVM, its interface and its capabilities.
    static func kvm() -> [Finding] {
        do throws(KVMError) {
            let system = try KVMSystem()
            var findings = [Finding("/dev/kvm", .yes, "interface version 12", isRequired: true)]
            for capability in KVMCapability.required {
                let present = system.value(of: capability) != 0
                findings.append(
                    Finding(
                        capability.name, present ? .yes : .no, capability.purpose,
                        remedy: present ? nil : "use a newer kernel, or one built with this feature", isRequired: true))
            }
            for capability in KVMCapability.optional {
                let present = system.value(of: capability) != 0
                findings.append(
                    Finding(
                        capability.name, present ? .yes : .limited, capability.purpose,
                        remedy: present ? nil : "only needed for \(capability.purpose); a newer kernel has it"))
            }
            findings.append(Finding("vCPUs", .yes, "at most \(system.value(of: .maximumVCPUs)) in a VM"))
            findings.append(Finding("memory slots", .yes, "\(system.value(of: .memorySlots)) in a VM"))
            return findings
        } catch {
            return [Finding("/dev/kvm", .no, "\(error)", remedy: remedy(error), isRequired: true)]
        }
    }

    private static func remedy(_ error: KVMError) -> String? {
        switch error {
        case .unavailable(_, .noSuchFile): "modprobe kvm_intel or kvm_amd; enable virtualisation in the firmware"
        case .unavailable(_, .accessDenied): "usermod -aG kvm $USER, then log in again"
        default: "look at dmesg for what KVM said"
        }
    }

    /// Devices and kernel features that some configurations use.
    static func host() -> [Finding] {
        var findings = [device("/dev/net/tun", "network cards (net)", "modprobe tun, and give access to it")]
        findings.append(tap())
        findings.append(
            device(
                "/dev/vhost-net", "faster network cards", "modprobe vhost_net, and give access to it", required: false)
        )
        findings.append(hugePages())
        findings.append(call("io_uring", HostProbe.ioUring, "sysctl kernel.io_uring_disabled=0"))
        findings.append(
            call("userfaultfd", HostProbe.userfaultfd, "sysctl vm.unprivileged_userfaultfd=1, or run as root"))
        return findings
    }

    private static func device(_ path: String, _ purpose: String, _ remedy: String, required: Bool = true) -> Finding {
        guard let errno = HostProbe.open(path) else { return Finding(path, .yes, purpose) }
        return Finding(path, required ? .no : .limited, "\(purpose): \(errno)", remedy: remedy)
    }

    private static func tap() -> Finding {
        do throws(HostError) {
            let queue = try TapQueue(name: "", multiQueue: false)
            return Finding("making a tap", .yes, "\(queue.interface) was made and removed")
        } catch {
            return Finding(
                "making a tap", .no, "\(error.errno)",
                remedy: "run as root, give swiftlet CAP_NET_ADMIN, or have a tap made: "
                    + "ip tuntap add mode tap user $USER name NAME")
        }
    }

    private static func hugePages() -> Finding {
        let sizes: [(String, String)] = [("2048kB", "2 MiB"), ("1048576kB", "1 GiB")]
        let counts = sizes.map { directory, name -> (String, Int) in
            (name, HostProbe.number("/sys/kernel/mm/hugepages/hugepages-\(directory)/free_hugepages") ?? 0)
        }
        let detail = counts.map { "\($0.1) of \($0.0) free" }.joined(separator: ", ")
        let any = counts.contains { $0.1 > 0 }
        return Finding(
            "huge pages", any ? .yes : .limited, detail,
            remedy: any ? nil : "only for memory.hugepages: echo 512 > /proc/sys/vm/nr_hugepages")
    }

    private static func call(_ name: String, _ errno: Errno?, _ remedy: String) -> Finding {
        guard let errno else { return Finding(name, .yes, "usable") }
        return Finding(name, .limited, "\(errno)", remedy: remedy)
    }
}
