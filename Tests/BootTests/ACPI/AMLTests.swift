import Testing

@testable import Boot

/// Each encoding of chapter 20 of ACPI 6.5 against the bytes that it prescribes.
@Suite struct AMLTests {
    private func expect(
        _ term: AMLTerm, _ bytes: [UInt8], at location: SourceLocation = #_sourceLocation
    ) throws {
        #expect(try term.encoded() == bytes, sourceLocation: location)
    }

    private func refused(_ term: AMLTerm, at location: SourceLocation = #_sourceLocation) {
        #expect(throws: ACPIError.self, sourceLocation: location) { _ = try term.encoded() }
    }

    @Test func integersTakeTheShortestForm() throws {
        try expect(.integer(0), [0x00])
        try expect(.integer(1), [0x01])
        try expect(.integer(2), [0x0A, 0x02])
        try expect(.integer(0xFF), [0x0A, 0xFF])
        try expect(.integer(0x100), [0x0B, 0x00, 0x01])
        try expect(.integer(0xFFFF), [0x0B, 0xFF, 0xFF])
        try expect(.integer(0x1_0000), [0x0C, 0x00, 0x00, 0x01, 0x00])
        try expect(.integer(0xFFFF_FFFF), [0x0C, 0xFF, 0xFF, 0xFF, 0xFF])
        try expect(.integer(0x1_0000_0000), [0x0E, 0, 0, 0, 0, 1, 0, 0, 0])
        try expect(.integer(.max), [0xFF])
    }

    @Test func lengthsTakeOneToFourBytes() throws {
        func encoded(_ length: Int, _ itself: Bool) throws -> [UInt8] {
            var bytes: [UInt8] = []
            try AMLLength.append(length, includesItself: itself, to: &bytes)
            return bytes
        }
        #expect(try encoded(0, true) == [0x01])
        #expect(try encoded(62, true) == [0x3F])
        // 63 bytes and a length of 2 bytes: 65 = 0x041.
        #expect(try encoded(63, true) == [0x41, 0x04])
        #expect(try encoded(0xFFF - 2, true) == [0x4F, 0xFF])
        // 0xFFE bytes and a length of 3: 0x1001.
        #expect(try encoded(0xFFF - 1, true) == [0x81, 0x00, 0x01])
        #expect(try encoded(0xF_FFFF - 3, true) == [0x8F, 0xFF, 0xFF])
        #expect(try encoded(0xF_FFFF - 2, true) == [0xC1, 0x00, 0x00, 0x01])
        #expect(try encoded(AMLLength.limit - 4, true) == [0xCF, 0xFF, 0xFF, 0xFF])
        #expect(throws: ACPIError.self) { try encoded(AMLLength.limit - 3, true) }
        #expect(throws: ACPIError.self) { try encoded(-1, false) }
        #expect(throws: ACPIError.self) { try encoded(.max, true) }
        // A field's width counts nothing but its bits.
        #expect(try encoded(63, false) == [0x3F])
        #expect(try encoded(64, false) == [0x40, 0x04])
    }

    @Test func pathsAndNames() throws {
        try expect(.path("A"), [0x41, 0x5F, 0x5F, 0x5F])
        try expect(.path("_HID"), [0x5F, 0x48, 0x49, 0x44])
        try expect(.path("\\"), [0x5C, 0x00])
        try expect(.path("^^AB1_"), joined([0x5E, 0x5E], ascii("AB1_")))
        try expect(.path("\\_SB.PCI0"), joined([0x5C, 0x2E], ascii("_SB_PCI0")))
        try expect(.path("_SB.PCI0.S01"), joined([0x2F, 0x03], ascii("_SB_PCI0S01_")))
        for bad in ["", "abcd", "1ABC", "ABCDE", "A.", ".A", "A..B", "A B", "\\\\A", "^\\A", "Ä", "\\^A"] {
            refused(.path(bad))
            refused(.name(bad, .zero))
            refused(.device(bad, []))
            refused(.notify(bad, .zero))
        }
        refused(.path(Array(repeating: "ABCD", count: 256).joined(separator: ".")))
        refused(.name("\\", .zero))
        refused(.method("^", []))
    }

    @Test func textAndIds() throws {
        try expect(.string("ACPI0013"), joined([0x0D], ascii("ACPI0013"), [0x00]))
        refused(.string("Grüße"))
        refused(.string("a\0b"))
        try expect(.eisaID("PNP0A08"), [0x0C, 0x41, 0xD0, 0x0A, 0x08])
        try expect(.eisaID("PNP0501"), [0x0C, 0x41, 0xD0, 0x05, 0x01])
        for bad in ["", "PNP05", "pnp0501", "PNP050G", "PNP05011", "P1P0501"] { refused(.eisaID(bad)) }
        try expect(
            .uuid("33db4d5b-1ff7-401c-9657-7441c03dd766"),
            [0x11, 0x13, 0x0A, 0x10]
                + [0x5B, 0x4D, 0xDB, 0x33, 0xF7, 0x1F, 0x1C, 0x40, 0x96, 0x57, 0x74, 0x41, 0xC0, 0x3D, 0xD7, 0x66])
        for bad in ["", "33db4d5b", "33db4d5b-1ff7-401c-9657-7441c03dd76g", "33db4d5b1-ff7-401c-9657-7441c03dd766"] {
            refused(.uuid(bad))
        }
    }

    @Test func buffersAndPackages() throws {
        try expect(.buffer([]), [0x11, 0x02, 0x00])
        try expect(.buffer([0xAB]), [0x11, 0x03, 0x01, 0xAB])
        let long = [UInt8](repeating: 7, count: 0x1000)
        try expect(.buffer(long), joined([0x11, 0x86, 0x00, 0x01, 0x0B, 0x00, 0x10], long))
        try expect(.package([.integer(5), .zero]), [0x12, 0x05, 0x02, 0x0A, 0x05, 0x00])
        let many = [AMLTerm](repeating: .zero, count: 256)
        try expect(.package(many), joined([0x13, 0x45, 0x10, 0x0B, 0x00, 0x01], [UInt8](repeating: 0, count: 256)))
    }

    @Test func localsAndArguments() throws {
        try expect(.local(0), [0x60])
        try expect(.local(7), [0x67])
        try expect(.argument(0), [0x68])
        try expect(.argument(6), [0x6E])
        for bad in [-1, 8, Int.max, Int.min] {
            refused(.local(bad))
            refused(.argument(bad))
            refused(.method("M", arguments: bad, []))
        }
        refused(.argument(7))
    }

    @Test func objects() throws {
        try expect(.name("N", .one), [0x08, 0x4E, 0x5F, 0x5F, 0x5F, 0x01])
        try expect(.scope("\\_SB", []), joined([0x10, 0x06, 0x5C], ascii("_SB_")))
        try expect(
            .device("DEV0", [.name("_UID", .zero)]),
            joined([0x5B, 0x82, 0x0B], ascii("DEV0"), [0x08], ascii("_UID"), [0]))
        try expect(
            .method("M", arguments: 2, serialized: true, [.return(.argument(1))]),
            [0x14, 0x08, 0x4D, 0x5F, 0x5F, 0x5F, 0x0A, 0xA4, 0x69])
        try expect(
            .operationRegion("REG", .systemIO, offset: .integer(0x604), length: .integer(4)),
            joined([0x5B, 0x80], ascii("REG_"), [0x01, 0x0B, 0x04, 0x06, 0x0A, 0x04]))
        try expect(
            .field(
                region: "REG", .doubleWord, lock: true, update: .writeAsZeros,
                [.named("LOW", bits: 1), .reserved(bits: 63), .reserved(bits: 100), .named("HIGH", bits: 300)]),
            joined(
                [0x5B, 0x81, 0x16], ascii("REG_"), [0x53], ascii("LOW_"), [0x01, 0x00, 0x3F, 0x00, 0x44, 0x06],
                ascii("HIGH"), [0x4C, 0x12]))
        refused(.field(region: "REG", .any, [.named("A.B", bits: 1)]))
        refused(.field(region: "REG", .any, [.named("A", bits: 0)]))
        refused(.field(region: "REG", .any, [.reserved(bits: -1)]))
        try expect(
            .bufferField("CDW1", width: .doubleWord, of: .argument(3), at: .zero),
            joined([0x8A, 0x6B, 0x00], ascii("CDW1")))
        try expect(.bufferField("B", width: .byte, of: .local(0), at: .one), joined([0x8C, 0x60, 0x01], ascii("B___")))
        try expect(.bufferField("W", width: .word, of: .local(0), at: .one), joined([0x8B, 0x60, 0x01], ascii("W___")))
        try expect(
            .bufferField("Q", width: .quadWord, of: .local(0), at: .one), joined([0x8F, 0x60, 0x01], ascii("Q___")))
    }

    @Test func statements() throws {
        try expect(.if(.one, then: [.break]), [0xA0, 0x03, 0x01, 0xA5])
        try expect(.if(.one, then: [.break], else: [.break]), [0xA0, 0x03, 0x01, 0xA5, 0xA1, 0x02, 0xA5])
        try expect(.while(.local(0), [.decrement(.local(0))]), [0xA2, 0x04, 0x60, 0x76, 0x60])
        try expect(.return(.zero), [0xA4, 0x00])
        try expect(.store(.one, in: .local(2)), [0x70, 0x01, 0x62])
        try expect(.notify("DEV", .integer(0x80)), joined([0x86], ascii("DEV_"), [0x0A, 0x80]))
        try expect(.call("METH", [.one, .local(0)]), joined(ascii("METH"), [0x01, 0x60]))
    }

    @Test func mutexes() throws {
        try expect(.mutex("LOCK"), joined([0x5B, 0x01], ascii("LOCK"), [0x00]))
        try expect(.mutex("\\_SB.LK", level: 15), joined([0x5B, 0x01, 0x5C, 0x2E], ascii("_SB_LK__"), [0x0F]))
        try expect(.acquire(.path("LOCK")), joined([0x5B, 0x23], ascii("LOCK"), [0xFF, 0xFF]))
        try expect(.acquire(.local(1), milliseconds: 0x1234), [0x5B, 0x23, 0x61, 0x34, 0x12])
        try expect(.release(.path("^LOCK")), joined([0x5B, 0x27, 0x5E], ascii("LOCK")))
        for level in [-1, 16, Int.max, Int.min] { refused(.mutex("LOCK", level: level)) }
        refused(.mutex("\\"))
        refused(.acquire(.path("lock")))
        refused(.release(.path("")))
    }

    @Test func expressions() throws {
        let (left, right) = (AMLTerm.local(0), AMLTerm.local(1))
        let arithmetic: [(AMLArithmetic, UInt8)] = [
            (.add, 0x72), (.subtract, 0x74), (.multiply, 0x77), (.shiftLeft, 0x79), (.shiftRight, 0x7A), (.and, 0x7B),
            (.or, 0x7D), (.xor, 0x7F),
        ]
        for (operation, code) in arithmetic {
            try expect(.arithmetic(operation, left, right), [code, 0x60, 0x61, 0x00])
            try expect(.arithmetic(operation, left, right, in: .local(2)), [code, 0x60, 0x61, 0x62])
        }
        let logical: [(AMLLogical, UInt8)] = [
            (.and, 0x90), (.or, 0x91), (.equal, 0x93), (.greater, 0x94), (.less, 0x95),
        ]
        for (operation, code) in logical { try expect(.logical(operation, left, right), [code, 0x60, 0x61]) }
        try expect(.and(left, .one, in: right), [0x7B, 0x60, 0x01, 0x61])
        try expect(.or(left, .one), [0x7D, 0x60, 0x01, 0x00])
        try expect(.equal(left, right), [0x93, 0x60, 0x61])
        try expect(.not(left), [0x92, 0x60])
        try expect(.increment(left), [0x75, 0x60])
        try expect(.decrement(left), [0x76, 0x60])
        try expect(.sizeOf(left), [0x87, 0x60])
        try expect(.index(left, .one), [0x88, 0x60, 0x01, 0x00])
        try expect(.dereference(.index(left, .one)), [0x83, 0x88, 0x60, 0x01, 0x00])
    }
}

/// Each resource descriptor of ACPI 6.5, 6.4.
@Suite struct AMLResourceTests {
    @Test func portsAndMemory() throws {
        #expect(
            try AMLResource.ports(first: 0x3F8, count: 8).encoded() == [0x47, 0x01, 0xF8, 0x03, 0xF8, 0x03, 0x01, 0x08])
        #expect(try AMLResource.ports(first: 0xFFFF, count: 1).encoded().count == 8)
        #expect(throws: ACPIError.self) { try AMLResource.ports(first: 0, count: 0).encoded() }
        #expect(throws: ACPIError.self) { try AMLResource.ports(first: 0xFFFF, count: 2).encoded() }
        #expect(
            try AMLResource.memory32(base: 0xE800_0000, size: 0x10_0000).encoded()
                == [0x86, 0x09, 0x00, 0x01, 0, 0, 0, 0xE8, 0, 0, 0x10, 0])
        #expect(try AMLResource.memory32(base: 0, size: 1, writable: false).encoded()[3] == 0)
        #expect(throws: ACPIError.self) { try AMLResource.memory32(base: 0xFFFF_F000, size: 0x1001).encoded() }
        #expect(throws: ACPIError.self) { try AMLResource.memory32(base: 0, size: 0).encoded() }
    }

    @Test func interrupts() throws {
        #expect(try AMLResource.interrupts([4], .edge).encoded() == [0x89, 0x06, 0x00, 0x03, 0x01, 4, 0, 0, 0])
        #expect(
            try AMLResource.interrupts([16, 0x1_0000], .level, .activeLow, shared: true).encoded()
                == [0x89, 0x0A, 0x00, 0x0D, 0x02, 16, 0, 0, 0, 0, 0, 1, 0])
        #expect(throws: ACPIError.self) { try AMLResource.interrupts([], .edge).encoded() }
        #expect(throws: ACPIError.self) {
            try AMLResource.interrupts([UInt32](repeating: 1, count: 256), .edge).encoded()
        }
    }

    @Test func windows() throws {
        #expect(
            try AMLResource.busNumbers(0...0xFF).encoded()
                == [0x88, 0x0D, 0x00, 0x02, 0x0C, 0x00, 0, 0, 0, 0, 0xFF, 0, 0, 0, 0, 1])
        #expect(
            try AMLResource.portWindow(0x1000...0xFFFF).encoded()
                == [0x88, 0x0D, 0x00, 0x01, 0x0C, 0x03, 0, 0, 0, 0x10, 0xFF, 0xFF, 0, 0, 0x00, 0xF0])
        #expect(
            try AMLResource.memoryWindow32(0xC000_0000...0xE7FF_FFFF).encoded()
                == [0x87, 0x17, 0x00, 0x00, 0x0C, 0x01, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0xFF, 0xFF, 0xFF, 0xE7]
                + [0, 0, 0, 0, 0, 0, 0, 0x28])
        #expect(
            try AMLResource.memoryWindow64(0x1_0000_0000...0x2_FFFF_FFFF, .prefetchable).encoded()
                == joined(
                    [0x8A, 0x2B, 0x00, 0x00, 0x0C, 0x07], [UInt8](repeating: 0, count: 8),
                    [0, 0, 0, 0, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 0, 0], [UInt8](repeating: 0, count: 8),
                    [0, 0, 0, 0, 2, 0, 0, 0]))
        #expect(try AMLResource.memoryWindow64(0...0).encoded()[5] == 0x03)
        #expect(throws: ACPIError.self) { try AMLResource.memoryWindow64(0...(.max)).encoded() }
        #expect(throws: ACPIError.self) { try AMLResource.memoryWindow32(0...(.max)).encoded() }
        #expect(throws: ACPIError.self) { try AMLResource.portWindow(0...(.max)).encoded() }
    }

    @Test func templatesEndWithATag() throws {
        #expect(try AMLTerm.resourceTemplate([]).encoded() == [0x11, 0x05, 0x0A, 0x02, 0x79, 0x00])
        #expect(
            try AMLTerm.resourceTemplate([.ports(first: 0x70, count: 2)]).encoded()
                == [0x11, 0x0D, 0x0A, 0x0A, 0x47, 0x01, 0x70, 0x00, 0x70, 0x00, 0x01, 0x02, 0x79, 0x00])
    }
}
