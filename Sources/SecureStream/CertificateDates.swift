import Host

/// The days between which a certificate holds, read from its DER with suspicion: it may be anybody's. (RFC 5280, 4.1)
///
/// NIOSSL's own `notValidBefore` and `notValidAfter` end the process at a time that BoringSSL does not read.
struct CertificateDates: Equatable {
    /// Seconds since 1970 in UTC.
    let first: Int64, last: Int64

    /// Nil where the bytes are no certificate.
    init?(_ der: [UInt8]) {
        var outer = DERReader(der[...])
        guard var certificate = outer.enter(0x30), var body = certificate.enter(0x30) else { return nil }
        // version, serial number, algorithm, issuer
        _ = body.skip(0xA0)
        guard body.skip(0x02), body.skip(0x30), body.skip(0x30), var validity = body.enter(0x30),
            let first = validity.time(), let last = validity.time()
        else { return nil }
        (self.first, self.last) = (first, last)
    }

    /// What is wrong with it at a time; nil where it holds.
    ///
    /// - Parameter now: seconds since 1970.
    func problem(at now: Int64) -> String? {
        if now < first { return "is not valid before \(CalendarTime(secondsSince1970: first).text)" }
        if now > last { return "expired on \(CalendarTime(secondsSince1970: last).text)" }
        return nil
    }
}

/// Steps through DER: tags and definite lengths, nothing beyond the bytes that are there. (X.690, 8.1 and 10.1)
struct DERReader {
    private var bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    /// The content of the next value, which has to have the tag; it stays where it has another one.
    private mutating func next(_ tag: UInt8) -> ArraySlice<UInt8>? {
        var rest = bytes
        guard rest.popFirst() == tag, let short = rest.popFirst() else { return nil }
        var length = Int(short)
        if short & 0x80 != 0 {
            let count = Int(short & 0x7F)
            guard 1...4 ~= count, rest.count >= count else { return nil }
            length = rest.prefix(count).reduce(0) { $0 << 8 | Int($1) }
            rest = rest.dropFirst(count)
        }
        guard length <= rest.count else { return nil }
        bytes = rest.dropFirst(length)
        return rest.prefix(length)
    }

    /// Goes into the next value.
    mutating func enter(_ tag: UInt8) -> DERReader? { next(tag).map { DERReader($0) } }

    /// Goes past the next value; false where it has another tag.
    mutating func skip(_ tag: UInt8) -> Bool { next(tag) != nil }

    /// A UTCTime or GeneralizedTime in seconds since 1970, in the form that certificates have it: YYMMDDHHMMSSZ or
    /// YYYYMMDDHHMMSSZ. (RFC 5280, 4.1.2.5)
    mutating func time() -> Int64? {
        let isShort = bytes.first == 0x17
        guard let text = next(isShort ? 0x17 : 0x18), text.count == (isShort ? 13 : 15), text.last == UInt8(ascii: "Z"),
            text.dropLast().allSatisfy({ (0x30...0x39).contains($0) })
        else { return nil }
        var digits = text.dropLast()
        func number(_ count: Int) -> Int64 {
            defer { digits = digits.dropFirst(count) }
            return digits.prefix(count).reduce(0) { $0 * 10 + Int64($1 - 0x30) }
        }
        var year = number(isShort ? 2 : 4)
        if isShort { year += year < 50 ? 2000 : 1900 }
        let (month, day, hour, minute, second) = (number(2), number(2), number(2), number(2), number(2))
        guard 1...12 ~= month, 1...31 ~= day, hour < 24, minute < 60, second < 60 else { return nil }
        // Days of the civil calendar, counted in years that begin in March.
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let ofEra = shifted - era * 400
        let ofYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let days = era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
        return days * 86_400 + hour * 3600 + minute * 60 + second
    }
}
