/// Which values a field of Cloud Hypervisor's format may have although this version does not implement it: those that
/// ask for nothing. null always does.
enum Harmless: Sendable {
    /// Also false and empty lists, for fields that are off or empty unless they are set.
    case nothing
    /// Also its documented default, which need not be false.
    case value(JSONValue)
    /// Also an object whose members are all harmless.
    case members([String: Harmless])
    /// The same, and a name that the format does not have is an error in every reading.
    case exactMembers([String: Harmless])

    static func text(_ text: String) -> Harmless { .value(.string(text)) }
    static func number(_ number: Int) -> Harmless { .value(.integer(number)) }

    /// Reports every part of a value that asks for something.
    func check(_ value: JSONValue, _ path: SpecPath, _ report: Report) {
        if value == .null { return }
        switch self {
        case .nothing:
            if value == .bool(false) || value == .array([]) { return }
            let name = path.lastName(report.style)
            report.issue(.unsupported, path, "'\(name)' is not supported yet by this version; remove it")
        case .value(let standard):
            if value == standard { return }
            let (given, allowed) = (Self.text(value, report.style), Self.text(standard, report.style))
            report.issue(
                .unsupported, path, "\(given) is not supported yet by this version; only \(allowed) is")
        case .members(let members):
            guard let reader = SectionReader(value, path, report) else { return }
            reader.finish([], unsupported: members)
        case .exactMembers(let members):
            guard let reader = SectionReader(value, path, report) else { return }
            reader.finish([], unsupported: members, isExact: true)
        }
    }

    /// A value as the person who gave it writes it.
    private static func text(_ value: JSONValue, _ style: SpecPath.Style) -> String {
        if style == .flags, case .bool(let flag) = value { return flag ? "on" : "off" }
        return value.excerpt
    }

    /// Where a device sits on the PCI bus: one segment, no IOMMU, slots given out in order.
    static let pciPlacement: [String: Harmless] = [
        "iommu": .nothing, "pci_segment": .number(0), "pci_device_id": .nothing,
    ]
}

extension Harmless {
    /// A rate limiter without limits; the one section in which Cloud Hypervisor's API refuses unknown names.
    static var rateLimiter: Harmless { .exactMembers(["bandwidth": .nothing, "ops": .nothing]) }
}
