/// `memory.dirty_log`: how KVM notes the pages that the guest writes. Not in Cloud Hypervisor's format.
package enum DirtyLogKind: String, CaseIterable, Sendable {
    /// In a bit for each page.
    case bitmap = "Bitmap"
    /// In a ring of each vCPU.
    case ring = "Ring"
}

/// `memory`: the guest's RAM and how the host provides it.
package struct MemoryConfig: Sendable, Equatable {
    /// Bytes of RAM.
    package var size: UInt64
    /// Whether other processes may map it (MAP_SHARED).
    package var shared = false
    /// Whether it comes from the host's reserved huge pages.
    package var hugepages = false
    /// Bytes of one huge page; nil takes the host's default size.
    package var hugepageSize: UInt64?
    /// Whether all of it is touched before the VM boots.
    package var prefault = false
    /// Whether the host may merge equal pages (KSM).
    package var mergeable = false
    /// Whether the host may use transparent huge pages for it.
    package var thp = true
    /// How KVM notes the pages that the guest writes, while somebody wants to know.
    package var dirtyLog = DirtyLogKind.bitmap

    /// RAM of a size in bytes.
    package init(size: UInt64 = 512 << 20) { self.size = size }
}

extension MemoryConfig {
    init(_ reader: SectionReader) {
        self.init(size: reader.requiredInteger("size", Limits.memorySize))
        shared = reader.bool("shared", default: shared)
        hugepages = reader.bool("hugepages", default: hugepages)
        hugepageSize = reader.integer("hugepage_size", 0...UInt64.max)
        prefault = reader.bool("prefault", default: prefault)
        mergeable = reader.bool("mergeable", default: mergeable)
        thp = reader.bool("thp", default: thp)
        dirtyLog = reader.choice("dirty_log", default: dirtyLog)
        reader.finish(
            ["size", "shared", "hugepages", "hugepage_size", "prefault", "mergeable", "thp", "dirty_log"],
            unsupported: [
                "hotplug_method": .text("Acpi"), "hotplug_size": .number(0), "hotplugged_size": .number(0),
                "reserve": .value(.bool(false)), "zones": .nothing, "file": .nothing,
            ])
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([
            ("size", .integer(size)), ("mergeable", .bool(mergeable)), ("hotplug_method", .string("Acpi")),
            ("shared", .bool(shared)), ("hugepages", .bool(hugepages)),
            ("hugepage_size", hugepageSize.map { .integer($0) }), ("prefault", .bool(prefault)),
            ("reserve", .bool(false)), ("thp", .bool(thp)),
            // Other monitors do not know it.
            ("dirty_log", dirtyLog == .bitmap ? nil : .string(dirtyLog.rawValue)),
        ])
    }

    func validate(maxPhysBits: UInt8, _ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.range("size", size, Limits.memorySize)
        if let hugepageSize {
            if !hugepages {
                checks.invalid("hugepage_size", "got \(hugepageSize) while hugepages is false; set hugepages to true")
            }
            if !Limits.hugepageSizes.contains(hugepageSize) {
                let allowed = Limits.hugepageSizes.map(String.init).joined(separator: " or ")
                checks.invalid("hugepage_size", "got \(hugepageSize), expected \(allowed), the huge pages of x86_64")
            }
        }
        let unit = hugepages ? hugepageSize ?? Limits.hugepageSizes[0] : Limits.pageSize
        if unit == Limits.pageSize || Limits.hugepageSizes.contains(unit), size % unit != 0 {
            let page = hugepages ? "huge page" : "page"
            checks.invalid("size", "got \(size), expected a multiple of the \(page) size, \(unit)")
        }
        if maxPhysBits < 46, size >= 1 << UInt64(maxPhysBits) {
            let bits = SpecPath().key("cpus").key("max_phys_bits").text(report.style)
            checks.invalid("size", "\(size) bytes do not fit into \(maxPhysBits) address bits; raise \(bits)")
        }
        if shared, mergeable {
            checks.invalid(
                "mergeable", "true while shared is true; only private memory can be merged, set one to false")
        }
    }
}
