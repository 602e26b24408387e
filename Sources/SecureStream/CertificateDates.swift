/// The days between which a certificate holds, read from its DER with suspicion: it may be anybody's. (RFC 5280, 4.1)
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
        if now < first { return "is not valid before \(Self.text(first))" }
        if now > last { return "expired on \(Self.text(last))" }
        return nil
    }

    /// A time as in RFC 3339.
    static func text(_ seconds: Int64) -> String {
        let day = (seconds >= 0 ? seconds : seconds - 86_399) / 86_400
        let rest = seconds - day * 86_400
        // The civil calendar in eras of 400 years that begin in March.
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let ofEra = shifted - era * 146_097
        let year = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * year + year / 4 - year / 100)
        let month = (5 * ofYear + 2) / 153
        let dayOfMonth = ofYear - (153 * month + 2) / 5 + 1
        let realMonth = month < 10 ? month + 3 : month - 9
        let realYear = year + era * 400 + (realMonth <= 2 ? 1 : 0)
        func padded(_ value: Int64, _ width: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        return "\(padded(realYear, 4))-\(padded(realMonth, 2))-\(padded(dayOfMonth, 2))T"
            + "\(padded(rest / 3600, 2)):\(padded(rest / 60 % 60, 2)):\(padded(rest % 60, 2))Z"
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
