import Host
import KVM
import Memory

/// Writes the memory and the registers of a guest that stands still into an ELF core file.
///
/// Its segments are RAM at its physical addresses, and again at the addresses where the kernel of vCPU 0 has it.
enum Coredump {
    /// Makes the file.
    ///
    /// - Parameter path: of a file that does not exist yet.
    static func create(_ path: String) throws(MachineError) -> FileDescriptor {
        do throws(HostError) { return try FileDescriptor.createNew(path) } catch { throw refusal(path, error) }
    }

    /// Fills the file; on a failure none is left.
    static func write(
        _ memory: GuestMemory, _ vcpus: [VCPUHandle], to file: borrowing FileDescriptor, at path: String
    ) throws(MachineError) {
        do {
            try write(memory, vcpus, file, path)
        } catch {
            FileDescriptor.remove(path)
            throw .host("\(error)")
        }
    }

    private static func write(
        _ memory: GuestMemory, _ vcpus: [VCPUHandle], _ file: borrowing FileDescriptor, _ path: String
    ) throws {
        var notes: [UInt8] = []
        var system: [UInt8] = []
        var kernel: [KernelMappings.Range] = []
        for (index, vcpu) in vcpus.enumerated() {
            let (registers, special) = (try vcpu.registers(), try vcpu.specialRegisters())
            let kernelGSBase = try vcpu.msrs([0xC000_0102]).first?.value ?? 0
            notes += VCPUNotes.status(index, registers, special)
            system += VCPUNotes.system(registers, special, kernelGSBase: kernelGSBase)
            if index == 0 {
                kernel = KernelMappings.find(special, memory, limit: ELFCore.mostSegments - memory.ranges.count)
            }
        }
        notes += system
        let start = ELFCore.memoryOffset(segments: memory.ranges.count + kernel.count, notes: notes)
        var segments: [ELFCore.Segment] = []
        var offset = start
        for range in memory.ranges {
            segments.append(
                ELFCore.Segment(virtual: range.address, physical: range.address, size: range.size, offset: offset))
            offset += range.size
        }
        let physical = segments
        for range in kernel {
            guard let home = physical.last(where: { $0.physical <= range.physical }) else { continue }
            segments.append(
                ELFCore.Segment(
                    virtual: range.virtual, physical: range.physical, size: range.size,
                    offset: home.offset + (range.physical - home.physical)))
        }
        try file.writeAll(ELFCore.head(segments, notes: notes))
        try file.truncate(to: offset, path: path)
        for (range, segment) in zip(memory.ranges, physical) {
            try memory.save(range, to: file, offset: segment.offset, path: path)
        }
    }

    private static func refusal(_ path: String, _ error: HostError) -> MachineError {
        let remedy =
            switch error.errno {
            case .exists: "name a file that does not exist yet"
            case .accessDenied, .notPermitted, .readOnly: "name a file in a directory that this user may write"
            default: "name a file in a directory that exists"
            }
        return .spec("$.destination_url: \(path): cannot be created: \(error.errno); \(remedy)")
    }
}
