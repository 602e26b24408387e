import PCI
import TestSupport
import Testing

/// Configuration space of header type 0 (PCI 3.0 chapter 6).
struct PCIConfigurationTests {
    private func make() -> PCIConfiguration {
        var identity = PCIConfiguration.Identity(vendor: 0x1AF4, device: 0x1042, classCode: 0x018002)
        identity.revision = 7
        identity.subsystemVendor = 0xABCD
        identity.subsystem = 0x1234
        return PCIConfiguration(identity)
    }

    private func bytes(_ space: PCIConfiguration) -> [UInt8] {
        (0..<256).map { UInt8(truncatingIfNeeded: space.read($0, size: 1)) }
    }

    @Test func identityByteByByte() {
        var expected = [UInt8](repeating: 0, count: 256)
        expected.replaceSubrange(0..<4, with: [0xF4, 0x1A, 0x42, 0x10])
        expected.replaceSubrange(8..<12, with: [7, 0x02, 0x80, 0x01])
        expected.replaceSubrange(0x2C..<0x30, with: [0xCD, 0xAB, 0x34, 0x12])
        #expect(bytes(make()) == expected)
    }

    @Test func onlyWritableBitsChange() {
        var space = make()
        let before = bytes(space)
        for offset in stride(from: 0, to: 256, by: 4) { space.write(offset, size: 4, value: .max) }
        var expected = before
        (expected[4], expected[5]) = (0x46, 0x05)
        (expected[0x0C], expected[0x3C]) = (0xFF, 0xFF)
        #expect(bytes(space) == expected)
        for offset in 0..<256 { space.write(offset, size: 1, value: 0) }
        #expect(bytes(space) == before)
    }

    @Test func accessesOfAnySizeAndPlace() {
        var space = make()
        #expect(space.read(0, size: 4) == 0x1042_1AF4)
        #expect(space.read(1, size: 2) == 0x421A)
        #expect(space.read(3, size: 4) == 0x0000_0010)
        #expect(space.read(0x2F, size: 1) == 0x12)
        #expect(space.read(255, size: 4) == 0)
        for offset in [-1, 256, 4095, .max, .min] {
            for size in [-1, 0, 1, 2, 4, 8, .max] {
                #expect(space.read(offset, size: size) == 0)
                space.write(offset, size: size, value: .max)
            }
        }
        #expect(space == make())
        space.write(3, size: 2, value: 0xFFFF)
        #expect(space.read(4, size: 2) == 0x46)
    }

    @Test func registerOf64BitsIsSizedAndMoved() {
        var space = make()
        space.addBAR(0, size: 0x8000, kind: .memory64, address: 0x80_0000_8000)
        #expect(space.read(0x10, size: 4) == 0x0000_8004)
        #expect(space.read(0x14, size: 4) == 0x80)
        #expect(space.decoded.isEmpty)
        space.write(0x10, size: 4, value: .max)
        space.write(0x14, size: 4, value: .max)
        #expect(space.read(0x10, size: 4) == 0xFFFF_8004)
        #expect(space.read(0x14, size: 4) == .max)
        space.write(0x10, size: 4, value: 0xC001_2345)
        space.write(0x14, size: 4, value: 0x12)
        space.write(0x04, size: 2, value: 2)
        let range = space.decoded.first
        #expect(space.decoded.count == 1 && range?.bar == 0 && range?.kind == .memory64)
        #expect(range?.address == 0x12_C001_0000 && range?.size == 0x8000)
    }

    @Test func registersOf32BitsAndLargeOnes() {
        var space = make()
        space.addBAR(0, size: 16, kind: .memory32, address: 0xE000_0010)
        space.addBAR(1, size: 8 << 30, kind: .memory64, address: 16 << 30)
        space.write(0x10, size: 4, value: .max)
        #expect(space.read(0x10, size: 4) == 0xFFFF_FFF0)
        space.write(0x14, size: 4, value: .max)
        space.write(0x18, size: 4, value: .max)
        #expect(space.read(0x14, size: 4) == 4)
        #expect(space.read(0x18, size: 4) == 0xFFFF_FFFE)
        #expect(space.read(0x1C, size: 4) == 0)
    }

    @Test func capabilitiesAreAList() {
        var space = make()
        let first = space.addCapability(id: 0x09, body: [1, 2, 3], writableBody: [0, 0xF0])
        let second = space.addCapability(id: 0x11, body: [4])
        #expect(first == 0x40 && second == 0x48)
        #expect(space.read(6, size: 2) == 0x10)
        #expect(space.read(0x34, size: 1) == 0x40)
        #expect(space.read(0x40, size: 4) == 0x0201_4809)
        #expect(space.read(0x48, size: 4) == 0x0004_0011)
        space.write(0x40, size: 4, value: .max)
        #expect(space.read(0x40, size: 4) == 0xF201_4809)
        #expect(space.addCapability(id: 0x09, body: [UInt8](repeating: 0, count: 200)) == nil)
        #expect(space.addCapability(id: 0x09, body: [UInt8](repeating: 0, count: 0x100 - 0x4E)) == 0x4C)
        #expect(space.addCapability(id: 0x09, body: []) == nil)
        #expect(PCIAddress(device: 5).description == "0000:00:05.0")
        #expect(PCIAddress(bus: 255, device: 31, function: 7).description == "0000:ff:1f.7")
    }
}
