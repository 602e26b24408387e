/// A piece of AML, ACPI's byte code (ACPI 6.5, chapter 20): data, an object, or a statement.
///
/// Terms are values that nest; nothing is checked until `encoded()` turns them into bytes.
package indirect enum AMLTerm: Sendable {
    // MARK: Data

    case integer(UInt64)
    /// ASCII without the zero byte that ends it.
    case string(String)
    case buffer([UInt8])
    /// A buffer of resource descriptors and their end tag.
    case resourceTemplate([AMLResource])
    case package([AMLTerm])
    /// A device's id of three capitals and four hexadecimal digits, as EISAID in ASL.
    case eisaID(String)
    /// A buffer that holds `aabbccdd-eeff-0011-2233-445566778899`, as ToUUID in ASL.
    case uuid(String)
    /// An object's name or path: what it refers to.
    case path(String)
    /// Local0 to Local7.
    case local(Int)
    /// Arg0 to Arg6.
    case argument(Int)
    /// Terms that are bytes already.
    case encoded([UInt8])

    // MARK: Objects

    case name(String, AMLTerm)
    case scope(String, [AMLTerm])
    case device(String, [AMLTerm])
    case method(String, arguments: Int = 0, serialized: Bool = false, [AMLTerm])
    case operationRegion(String, AMLRegionSpace, offset: AMLTerm, length: AMLTerm)
    case field(region: String, AMLFieldAccess, lock: Bool = false, update: AMLFieldUpdate = .preserve, [AMLFieldUnit])
    /// Names `width` bytes of a buffer, from a byte index on.
    case bufferField(String, width: AMLBufferFieldWidth, of: AMLTerm, at: AMLTerm)
    /// A lock for methods that must not run beside each other. A thread may take further mutexes only of the same or a
    /// higher level, 0 to 15 (ACPI 6.5, 19.6, Mutex).
    case mutex(String, level: Int = 0)

    // MARK: Statements

    case `if`(AMLTerm, then: [AMLTerm], else: [AMLTerm] = [])
    case `while`(AMLTerm, [AMLTerm])
    case `break`
    case `return`(AMLTerm)
    case store(AMLTerm, in: AMLTerm)
    case notify(String, AMLTerm)
    /// A method's call; as many arguments as the method declares.
    case call(String, [AMLTerm] = [])
    /// Gives back a mutex that this thread holds.
    case release(AMLTerm)

    // MARK: Expressions

    /// An operation on two integers that may keep its result in a target.
    case arithmetic(AMLArithmetic, AMLTerm, AMLTerm, in: AMLTerm? = nil)
    case increment(AMLTerm)
    case decrement(AMLTerm)
    /// A comparison, or a logical "and" or "or".
    case logical(AMLLogical, AMLTerm, AMLTerm)
    case not(AMLTerm)
    case sizeOf(AMLTerm)
    /// A reference to an element of a package, buffer or string.
    case index(AMLTerm, AMLTerm)
    case dereference(AMLTerm)
    /// Takes a mutex: false, or true when `milliseconds` passed without it. The greatest number waits for ever
    /// (ACPI 6.5, 19.6, Acquire).
    case acquire(AMLTerm, milliseconds: UInt16 = .max)

    // MARK: Shorthands

    /// 0, AML's ZeroOp.
    package static let zero = AMLTerm.integer(0)
    /// 1, AML's OneOp.
    package static let one = AMLTerm.integer(1)

    /// LEqual, of integers, strings or buffers.
    package static func equal(_ left: AMLTerm, _ right: AMLTerm) -> AMLTerm { .logical(.equal, left, right) }

    /// And, which may keep its result in a target.
    package static func and(_ left: AMLTerm, _ right: AMLTerm, in target: AMLTerm? = nil) -> AMLTerm {
        .arithmetic(.and, left, right, in: target)
    }

    /// Or, which may keep its result in a target.
    package static func or(_ left: AMLTerm, _ right: AMLTerm, in target: AMLTerm? = nil) -> AMLTerm {
        .arithmetic(.or, left, right, in: target)
    }
}

/// Operations of two operands and a target; the raw value is the opcode (ACPI 6.5, 20.2.5.4).
package enum AMLArithmetic: UInt8, Sendable {
    case add = 0x72
    case subtract = 0x74
    case multiply = 0x77
    case shiftLeft = 0x79
    case shiftRight = 0x7A
    case and = 0x7B
    case or = 0x7D
    case xor = 0x7F
}

/// Comparisons and logical operations; the raw value is the opcode (ACPI 6.5, 20.2.5.4).
package enum AMLLogical: UInt8, Sendable {
    case and = 0x90
    case or = 0x91
    case equal = 0x93
    case greater = 0x94
    case less = 0x95
}

/// What an operation region's addresses mean; the raw value is the encoding (ACPI 6.5, 20.2.5.2).
package enum AMLRegionSpace: UInt8, Sendable {
    case systemMemory = 0
    case systemIO = 1
    case pciConfiguration = 2
}

/// How wide the accesses to a field are (ACPI 6.5, 20.2.5.2).
package enum AMLFieldAccess: UInt8, Sendable {
    case any = 0
    case byte = 1
    case word = 2
    case doubleWord = 3
    case quadWord = 4
}

/// What becomes of the bits beside those that a write changes (ACPI 6.5, 20.2.5.2).
package enum AMLFieldUpdate: UInt8, Sendable {
    case preserve = 0
    case writeAsOnes = 1
    case writeAsZeros = 2
}

/// A field's parts in the order of their bits.
package enum AMLFieldUnit: Sendable {
    /// A named part: a single name and its width.
    case named(String, bits: Int)
    /// A part that nothing names.
    case reserved(bits: Int)
}

/// The width of a buffer's named part; the raw value is the opcode (ACPI 6.5, 20.2.5.2).
package enum AMLBufferFieldWidth: UInt8, Sendable {
    case byte = 0x8C
    case word = 0x8B
    case doubleWord = 0x8A
    case quadWord = 0x8F
}
