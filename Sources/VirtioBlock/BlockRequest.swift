import Virtio

/// A request as the driver's header says it (virtio 1.2 section 5.2.6), checked against nothing yet but its form.
enum BlockRequest: Equatable {
    /// Transfer between the disk and the chain's data, from a byte of the disk on.
    case read(sector: UInt64)
    case write(sector: UInt64)
    case flush
    case getID
    case discard
    case writeZeroes
    case unsupported(type: UInt32)

    /// The header: type, reserved, sector.
    struct Header: BitwiseCopyable {
        var type: UInt32 = 0
        var reserved: UInt32 = 0
        var sector: UInt64 = 0
        static let size = 16
    }

    /// A range of a discard or write-zeroes request.
    struct Range: BitwiseCopyable {
        var sector: UInt64 = 0
        var count: UInt32 = 0
        var flags: UInt32 = 0
        static let size = 16
        static let unmap: UInt32 = 1
    }

    init(_ header: Header) {
        self =
            switch header.type {
            case 0: .read(sector: header.sector)
            case 1: .write(sector: header.sector)
            case 4: .flush
            case 8: .getID
            case 11: .discard
            case 13: .writeZeroes
            default: .unsupported(type: header.type)
            }
    }
}

/// How a request ended, in the chain's last byte.
enum BlockStatus: UInt8 {
    case ok = 0
    case failed = 1
    case unsupported = 2
}
