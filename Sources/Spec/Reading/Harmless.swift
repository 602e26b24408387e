/// Which values a field of Cloud Hypervisor's format may have although this version does not implement it: those that
/// ask for nothing. null and empty lists always do, and false where it is the default.
enum Harmless: Sendable {
    /// Only null, false and empty lists.
    case nothing
    /// Also its documented default.
    case value(JSONValue)
    /// Also an object whose members are all harmless.
    case members([String: Harmless])

    static func text(_ text: String) -> Harmless { .value(.string(text)) }
    static func number(_ number: Int) -> Harmless { .value(.integer(number)) }

    /// Whether the field is true unless it is turned off, so that false asks for something.
    private var isOn: Bool {
        if case .value(.bool(true)) = self { true } else { false }
    }

    /// Reports every part of a value that asks for something.
    func check(_ value: JSONValue, _ path: SpecPath, _ name: String, _ report: Report) {
        if value == .null || value == .array([]) { return }
        if value == .bool(false), !isOn { return }
        switch self {
        case .nothing:
            report.issue(.unsupported, path, "'\(name)' is not supported yet by this version; remove it")
        case .value(let standard):
            if value == standard { return }
            report.issue(
                .unsupported, path, "\(value.excerpt) is not supported yet by this version; only \(standard.excerpt) is"
            )
        case .members(let members):
            guard let reader = SectionReader(value, path, report) else { return }
            reader.finish([], unsupported: members)
        }
    }

    /// Where a device sits on the PCI bus: one segment, no IOMMU, slots given out in order.
    static let pciPlacement: [String: Harmless] = [
        "iommu": .nothing, "pci_segment": .number(0), "pci_device_id": .nothing,
    ]
}

extension Harmless {
    /// A rate limiter without limits.
    static var rateLimiter: Harmless { .members(["bandwidth": .nothing, "ops": .nothing]) }
}
