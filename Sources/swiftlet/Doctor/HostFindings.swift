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
                        remedy: present ? nil : "only needed for \(capability.purpose); \(capability.remedy)"))
            }
            findings.append(Finding("vCPUs", .yes, "at most \(system.value(of: .maximumVCPUs)) in a VM"))
            findings.append(Finding("memory slots", .yes, "\(system.value(of: .memorySlots)) in a VM"))
            return findings
        } catch {
            let remedy = error.remedy ?? "look at dmesg for what KVM said"
            return [Finding("/dev/kvm", .no, error.problem, remedy: remedy, isRequired: true)]
        }
    }

    /// Devices and kernel features that some configurations use.
    static func host() -> [Finding] {
        var findings = [device("/dev/net/tun", "network cards (net)", module: "tun", usualGroup: nil)]
        findings.append(tap())
        findings.append(
            device("/dev/vhost-net", "faster network cards", module: "vhost_net", usualGroup: "kvm", required: false))
        findings.append(hugePages())
        findings.append(call("io_uring", HostProbe.ioUring, "sysctl kernel.io_uring_disabled=0"))
        findings.append(
            call(
                "userfaultfd", HostProbe.userfaultfd,
                "sysctl vm.unprivileged_userfaultfd=1, access to /dev/userfaultfd, or run as root"))
        return findings
    }

    /// What this program was built with.
    static func build() -> Finding {
        let purpose = "compressed migrations (compression Zstd)"
        return Zstd.isBuiltIn
            ? Finding("libzstd", .yes, purpose)
            : Finding("libzstd", .limited, "\(purpose): not built in", remedy: "only for those: \(Zstd.remedy)")
    }

    private static func device(
        _ path: String, _ purpose: String, module: String, usualGroup: String?, required: Bool = true
    ) -> Finding {
        guard let errno = HostProbe.open(path) else { return Finding(path, .yes, purpose) }
        let remedy: String
        switch errno {
        case .accessDenied: remedy = FileOwnership(path: path)?.remedy(path, usualGroup: usualGroup) ?? "run as root"
        case .notPermitted: remedy = "allow \(path) in the rules of the container around this process"
        default: remedy = "modprobe \(module)"
        }
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
