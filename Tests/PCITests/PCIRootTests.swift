import PCI
import Synchronization
import TestSupport
import Testing

/// A function with two registers that remembers what it was told.
private final class FakeFunction: PCIFunction {
    struct State {
        var configuration: PCIConfiguration
        var placed: [Int: UInt64] = [:]
        var written: [String] = []
    }
    let id: String
    let state: Mutex<State>

    init(_ id: String, at address: UInt64, size: UInt64 = 0x1000) {
        self.id = id
        var space = PCIConfiguration(PCIConfiguration.Identity(vendor: 1, device: 2, classCode: 3))
        space.addBAR(0, size: size, kind: .memory32, address: address)
        space.addBAR(2, size: 0x10000, kind: .memory64, address: 0x10_0000_0000)
        state = Mutex(State(configuration: space))
    }

    func readConfiguration(_ offset: Int, size: Int) -> UInt32 {
        state.withLock { $0.configuration.read(offset, size: size) }
    }
    func writeConfiguration(_ offset: Int, size: Int, value: UInt32) {
        state.withLock { $0.configuration.write(offset, size: size, value: value) }
    }
    var decoded: [PCIConfiguration.Decoded] { state.withLock { $0.configuration.decoded } }
    func placed(bar: Int, at address: UInt64?) { state.withLock { $0.placed[bar] = address } }
    func read(bar: Int, offset: UInt64, size: Int) -> UInt64 { UInt64(bar) << 32 | offset << 8 | UInt64(size) }
    func write(bar: Int, offset: UInt64, size: Int, value: UInt64) {
        state.withLock { $0.written.append("\(bar) \(offset) \(size) \(value)") }
    }
    var placed: [Int: UInt64] { state.withLock { $0.placed } }
    var written: [String] { state.withLock { $0.written } }
}

/// Configuration cycles by both mechanisms, and the decoding of moving, overlapping and escaping ranges.
struct PCIRootTests {
    private let root = PCIRoot(
        windows: PCIRoot.Windows(memory32: 0xC000_0000..<0xD000_0000, memory64: 0x10_0000_0000..<0x20_0000_0000))

    private func ecam(_ device: Int, _ offset: Int) -> UInt64 { UInt64(device << 15 | offset) }
    private func command(_ device: Int, _ value: UInt64) { root.writeECAM(ecam(device, 4), size: 2, value: value) }
    private func move(_ device: Int, to address: UInt64) {
        root.writeECAM(ecam(device, 0x10), size: 4, value: address)
    }

    @Test func slots() {
        let function = FakeFunction("a", at: 0xC000_0000)
        #expect(!root.insert(function, device: 0) && !root.insert(function, device: 32))
        #expect(!root.insert(function, device: -1))
        #expect(root.insert(function, device: 5) && !root.insert(function, device: 5))
        #expect(root.functions.map(\.address) == [PCIAddress(device: 0), PCIAddress(device: 5)])
        #expect(root.remove(device: 0) == nil && root.remove(device: 6) == nil && root.remove(device: 99) == nil)
        #expect(root.remove(device: 5)?.id == "a")
        #expect(root.readECAM(ecam(5, 0), size: 4) == 0xFFFF_FFFF)
    }

    @Test func memoryMappedConfiguration() {
        _ = root.insert(FakeFunction("a", at: 0xC000_0000), device: 5)
        #expect(root.readECAM(0, size: 4) == 0x0D57_8086)
        #expect(root.readECAM(ecam(0, 8), size: 4) == 0x0600_0000)
        #expect(root.readECAM(ecam(5, 0), size: 4) == 0x0002_0001)
        #expect(root.readECAM(ecam(5, 0), size: 8) == 0x0000_0000_0002_0001)
        #expect(root.readECAM(ecam(5, 2), size: 1) == 2)
        #expect(root.readECAM(ecam(5, 0x100), size: 4) == 0)
        #expect(root.readECAM(ecam(5, 0xFFF), size: 4) == 0)
        // Another function of the device, another bus, another device, and beyond the window.
        let places = [ecam(5, 0) | 1 << 12, ecam(5, 0) | 1 << 20, ecam(6, 0), 1 << 28, UInt64.max - 7, 1 << 63]
        for place in places {
            #expect(root.readECAM(place, size: 4) == 0xFFFF_FFFF)
            #expect(root.readECAM(place, size: 8) == .max)
            root.writeECAM(place, size: 8, value: .max)
        }
        root.writeECAM(ecam(5, 0), size: 8, value: .max)
        #expect(root.readECAM(ecam(5, 4), size: 2) == 0x0546)
    }

    @Test func portConfiguration() {
        _ = root.insert(FakeFunction("a", at: 0xC000_0000), device: 5)
        #expect(root.readPort(4, size: 4) == 0xFFFF_FFFF)
        root.writePort(0, size: 4, value: 0x8000_2800)
        #expect(root.readPort(0, size: 4) == 0x8000_2800)
        #expect(root.readPort(4, size: 4) == 0x0002_0001)
        #expect(root.readPort(6, size: 2) == 2)
        #expect(root.readPort(5, size: 1) == 0)
        // Parts of the address register are other chips' ports.
        root.writePort(0, size: 1, value: 0)
        root.writePort(1, size: 1, value: 6)
        #expect(root.readPort(0, size: 4) == 0x8000_2800)
        #expect(root.readPort(0, size: 1) == 0xFFFF_FFFF && root.readPort(1, size: 1) == 0xFFFF_FFFF)
        root.writePort(0, size: 4, value: 0x8000_2804)
        root.writePort(4, size: 2, value: 0xFFFF)
        #expect(root.readECAM(ecam(5, 4), size: 2) == 0x0546)
        for address in [0x0000_2800, 0x8001_2800, 0x8000_2900, 0x8000_3000, 0xFFFF_FFFF] as [UInt32] {
            root.writePort(0, size: 4, value: address)
            #expect(root.readPort(4, size: 4) == 0xFFFF_FFFF)
            root.writePort(4, size: 4, value: 0)
        }
        #expect(root.readECAM(ecam(5, 4), size: 2) == 0x0546)
    }

    @Test func memoryIsDecodedWhileTheCommandSaysSo() {
        let function = FakeFunction("a", at: 0xC000_2000)
        _ = root.insert(function, device: 5)
        #expect(root.readMemory(0xC000_2000, size: 4) == nil)
        command(5, 2)
        #expect(function.placed == [0: 0xC000_2000, 2: 0x10_0000_0000])
        #expect(root.readMemory(0xC000_2FFF, size: 1) == 0xF_FF01)
        #expect(root.readMemory(0x10_0000_0004, size: 4) == 0x2_0000_0404)
        #expect(root.readMemory(0xC000_1FFF, size: 4) == nil && root.readMemory(0xC000_3000, size: 4) == nil)
        #expect(root.writeMemory(0xC000_2008, size: 8, value: 77) && function.written == ["0 8 8 77"])
        command(5, 0)
        #expect(function.placed.isEmpty)
        #expect(root.readMemory(0xC000_2000, size: 4) == nil && !root.writeMemory(0xC000_2000, size: 4, value: 1))
    }

    @Test func rangesMove() {
        let function = FakeFunction("a", at: 0xC000_0000)
        _ = root.insert(function, device: 5)
        command(5, 2)
        move(5, to: 0xC100_0000)
        #expect(function.placed[0] == 0xC100_0000)
        #expect(root.readMemory(0xC000_0000, size: 4) == nil && root.readMemory(0xC100_0000, size: 4) != nil)
        // Out of the window and back.
        for outside in [0, 0xBFFF_F000, 0xD000_0000, 0xFFFF_F000] as [UInt64] {
            move(5, to: outside)
            #expect(function.placed[0] == nil && root.readMemory(outside, size: 4) == nil)
        }
        root.writeECAM(ecam(5, 0x1C), size: 4, value: 0xFFFF_FFFF)
        #expect(function.placed[2] == nil)
        move(5, to: 0xCFFF_F000)
        #expect(function.placed[0] == 0xCFFF_F000 && root.readMemory(0xCFFF_FFFF, size: 1) != nil)
        _ = root.remove(device: 5)
        #expect(function.placed.isEmpty && root.readMemory(0xCFFF_F000, size: 4) == nil)
    }

    @Test func theFirstOfTwoOverlappingRangesIsDecoded() {
        let first = FakeFunction("first", at: 0xC000_0000, size: 0x4000)
        let second = FakeFunction("second", at: 0xC000_1000)
        _ = root.insert(first, device: 1)
        _ = root.insert(second, device: 2)
        command(1, 2)
        command(2, 2)
        #expect(second.placed[0] == nil)
        #expect(root.readMemory(0xC000_1000, size: 4) == 0x10_0004)
        // A driver that moves the second one away finds it decoded.
        move(2, to: 0xC000_4000)
        #expect(second.placed[0] == 0xC000_4000)
        #expect(root.readMemory(0xC000_4000, size: 4) == 4)
    }

    @Test func randomAccessesNeverTrap() {
        let functions = [FakeFunction("a", at: 0xC000_0000), FakeFunction("b", at: 0xC000_1000)]
        for (index, function) in functions.enumerated() { _ = root.insert(function, device: index + 1) }
        var random = SeededGenerator(seed: 7)
        for _ in 0..<20_000 {
            let size = [1, 2, 4, 8].randomElement(using: &random) ?? 4
            let value = UInt64.random(in: 0 ... .max, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: root.writeECAM(value, size: size, value: value)
            case 1: root.writeECAM(value % (3 << 15), size: size, value: value >> 13)
            case 2: _ = root.readECAM(value % (3 << 15), size: size)
            case 3:
                let address = 0x8000_0000 | UInt32(truncatingIfNeeded: value) & 0x1FFF
                root.writePort(Int(value % 8), size: min(size, 4), value: address)
            case 4: _ = root.readPort(Int(value % 8), size: min(size, 4))
            default: _ = root.readMemory(0xC000_0000 + value % 0x4000, size: size)
            }
        }
        // Whatever was moved where, at most one function has any address.
        let ranges = functions.flatMap { function in
            function.placed.map { $0.value..<$0.value + ($0.key == 0 ? 0x1000 : 0x10000) }
        }
        for (index, range) in ranges.enumerated() {
            #expect(ranges[..<index].allSatisfy { !$0.overlaps(range) })
        }
    }

    @Test func aVacatedSlotLooksEmptyAndStaysTaken() {
        let function = FakeFunction("a", at: 0xC000_0000)
        #expect(root.insert(function, device: 5))
        command(5, 2)
        #expect(root.readMemory(0xC000_0010, size: 4) != nil)
        root.vacate(device: 5)
        root.vacate(device: 5)
        root.vacate(device: 0)
        root.vacate(device: 99)
        #expect(root.readECAM(ecam(5, 0), size: 4) == 0xFFFF_FFFF)
        #expect(root.readECAM(ecam(0, 0), size: 4) != 0xFFFF_FFFF)
        // What it decodes stays until it is removed, whatever the guest writes to the empty slot.
        command(5, 0)
        #expect(root.readMemory(0xC000_0010, size: 4) != nil && function.placed[0] == 0xC000_0000)
        let next = FakeFunction("b", at: 0xC100_0000)
        #expect(!root.insert(next, device: 5))
        #expect(root.remove(device: 5) === function)
        #expect(root.readMemory(0xC000_0010, size: 4) == nil && function.placed.isEmpty)
        #expect(root.remove(device: 5) == nil)
        #expect(root.insert(next, device: 5))
        #expect(root.readECAM(ecam(5, 0), size: 4) != 0xFFFF_FFFF)
    }
}
