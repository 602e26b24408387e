import Virtio

/// Measurements of one kind, as Prometheus has them.
package struct MetricFamily: Sendable {
    /// How its values behave.
    package enum Kind: String, Sendable { case counter, gauge, histogram }

    /// The name: a base unit at its end, `_total` behind a counter's.
    package let name: String
    /// One line that says what is measured.
    package let help: String
    package let kind: Kind
    package var samples: [Sample]

    /// One measurement.
    package struct Sample: Sendable {
        /// What tells it from the others, in order.
        package let labels: [(name: String, value: String)]
        package let value: Value

        package init(_ labels: [(name: String, value: String)] = [], _ value: Value) {
            (self.labels, self.value) = (labels, value)
        }
    }

    /// What was measured.
    package enum Value: Sendable {
        case integer(UInt64)
        /// ns, which are written as seconds.
        case time(UInt64)
        case histogram(LatencyReading)
    }

    package init(_ kind: Kind, _ name: String, _ help: String, _ samples: [Sample]) {
        (self.kind, self.name, self.help, self.samples) = (kind, name, help, samples)
    }
}

/// Prometheus' text exposition format, version 0.0.4.
package enum PrometheusText {
    /// The format's media type.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The families as text; those without samples are left out.
    package static func render(_ families: [MetricFamily]) -> String {
        var text = ""
        for family in families where !family.samples.isEmpty {
            text += "# HELP \(family.name) \(escaped(family.help, quotes: false))\n"
            text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
            for sample in family.samples { write(sample, family.name, &text) }
        }
        return text
    }

    private static func write(_ sample: MetricFamily.Sample, _ name: String, _ text: inout String) {
        switch sample.value {
        case .integer(let value): line(name, sample.labels, "\(value)", &text)
        case .time(let nanoseconds): line(name, sample.labels, seconds(nanoseconds), &text)
        case .histogram(let latency):
            // Each bucket's number includes those below it.
            var sum: UInt64 = 0
            for (index, count) in latency.counts.enumerated() {
                sum &+= count
                let bound = LatencyReading.bound(index).map(seconds) ?? "+Inf"
                line("\(name)_bucket", sample.labels + [("le", bound)], "\(sum)", &text)
            }
            line("\(name)_sum", sample.labels, seconds(latency.sum), &text)
            line("\(name)_count", sample.labels, "\(sum)", &text)
        }
    }

    private static func line(
        _ name: String, _ labels: [(name: String, value: String)], _ value: String, _ text: inout String
    ) {
        text += name
        if !labels.isEmpty {
            let list = labels.map { "\($0.name)=\"\(escaped($0.value, quotes: true))\"" }
            text += "{\(list.joined(separator: ","))}"
        }
        text += " \(value)\n"
    }

    /// ns as seconds, to the digit: 1500 is `0.0000015`.
    static func seconds(_ nanoseconds: UInt64) -> String {
        let whole = nanoseconds / 1_000_000_000
        var digits = String(nanoseconds % 1_000_000_000)
        digits = String(repeating: "0", count: 9 - digits.utf8.count) + digits
        while digits.last == "0" { digits.removeLast() }
        return digits.isEmpty ? "\(whole)" : "\(whole).\(digits)"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var output = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\"" where quotes: output += "\\\""
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output
    }
}
