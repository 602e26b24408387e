import Foundation
import TestSupport
import Testing
import Virtio

@testable import Machine

/// The text exposition format, as its specification and Prometheus' own parser have it.
struct PrometheusTextTests {
    private var histogram: LatencyReading {
        var latency = LatencyReading()
        latency.counts[0] = 2
        latency.counts[3] = 5
        latency.counts[25] = 1
        latency.sum = 20_000_000_500
        return latency
    }

    private var families: [MetricFamily] {
        [
            MetricFamily(.counter, "a_total", "Says \\ and\na line.", [.init([], .integer(.max))]),
            MetricFamily(
                .gauge, "b_bytes", "b",
                [
                    .init([("device", "a \"b\"\\\n{},="), ("kind", "block")], .integer(0)),
                    .init([("device", "ü"), ("kind", "")], .integer(7)),
                ]),
            MetricFamily(.counter, "c_seconds_total", "c", [.init([], .time(1_500))]),
            MetricFamily(.histogram, "d_seconds", "d", [.init([("op", "read")], .histogram(histogram))]),
            MetricFamily(.gauge, "nothing", "Not there.", []),
        ]
    }

    @Test func familiesAreWrittenAsTheFormatHasThem() {
        let text = PrometheusText.render(Array(families.prefix(3)))
        #expect(
            text == #"""
                # HELP a_total Says \\ and\na line.
                # TYPE a_total counter
                a_total 18446744073709551615
                # HELP b_bytes b
                # TYPE b_bytes gauge
                b_bytes{device="a \"b\"\\\n{},=",kind="block"} 0
                b_bytes{device="ü",kind=""} 7
                # HELP c_seconds_total c
                # TYPE c_seconds_total counter
                c_seconds_total 0.0000015

                """#)
        #expect(PrometheusText.render([]) == "" && PrometheusText.render([families[4]]) == "")
    }

    @Test func aHistogramsBucketsIncludeThoseBelow() {
        let lines = PrometheusText.render([families[3]]).split(separator: "\n").map(String.init)
        #expect(lines.count == 2 + 26 + 2)
        #expect(lines[2] == #"d_seconds_bucket{op="read",le="0.000001024"} 2"#)
        #expect(lines[4] == #"d_seconds_bucket{op="read",le="0.000004096"} 2"#)
        #expect(lines[5] == #"d_seconds_bucket{op="read",le="0.000008192"} 7"#)
        #expect(lines[26] == #"d_seconds_bucket{op="read",le="17.179869184"} 7"#)
        #expect(lines[27] == #"d_seconds_bucket{op="read",le="+Inf"} 8"#)
        #expect(lines[28] == #"d_seconds_sum{op="read"} 20.0000005"#)
        #expect(lines[29] == #"d_seconds_count{op="read"} 8"#)
    }

    @Test(
        arguments: [
            (0, "0"), (1, "0.000000001"), (1_000_000_000, "1"), (1_000_000_010, "1.00000001"),
            (UInt64.max, "18446744073.709551615"),
        ] as [(UInt64, String)])
    func secondsAreExact(nanoseconds: UInt64, text: String) {
        #expect(PrometheusText.seconds(nanoseconds) == text)
    }

    @Test func theKernelsWordsOnMemoryAreRead() {
        let reading = ProcessReading(
            status: "Name:\tswiftlet\nVmSize:\t   1000 kB\nRssAnon:\t 10 kB\nRssFile:\t20 kB\nRssShmem:\t30 kB\n"
                + "Threads:\t4\nOdd\nRssAnonymous: x kB\nVmRSS: 18446744073709551615 kB")
        #expect(reading.anonymous == 10240 && reading.file == 20480 && reading.shared == 30720)
        #expect(reading.resident == 61440 && reading.virtual == 1_024_000 && reading.threads == 4)
        let own = ProcessReading.current
        #expect((own?.resident ?? 0) > 1 << 20 && (own?.threads ?? 0) >= 1)
    }

    /// Prometheus' own parser (Debian's python3-prometheus-client).
    @Test func prometheusOwnParserReadsIt() throws {
        let scratch = try ScratchDirectory("prometheus")
        let file = try scratch.write("metrics", PrometheusText.render(families))
        let program = """
            import sys
            from prometheus_client.parser import text_string_to_metric_families as parse
            families = {f.name: f for f in parse(open(sys.argv[1], encoding='utf-8').read())}
            assert families['b_bytes'].samples[0].labels['device'] == 'a "b"\\\\\\n{},=', families['b_bytes']
            assert families['a'].type == 'counter' and families['a'].documentation == 'Says \\\\ and\\na line.'
            assert families['c_seconds'].samples[0].value == 1.5e-6
            d = families['d_seconds']
            assert d.type == 'histogram', d
            buckets = [s for s in d.samples if s.name == 'd_seconds_bucket']
            bounds = [float(s.labels['le']) for s in buckets]
            assert len(bounds) == 26 and bounds == sorted(bounds) and bounds[-1] == float('inf')
            assert [s.value for s in buckets] == sorted(s.value for s in buckets) and buckets[-1].value == 8
            """
        let process = Process()
        // The distribution's: another Python first in PATH has other packages.
        process.executableURL = URL(filePath: "/usr/bin/python3")
        process.arguments = ["-c", program, file]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }
}
