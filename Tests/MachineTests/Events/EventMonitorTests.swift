import CLinux
import Foundation
import Host
import Spec
import Synchronization
import TestSupport
import Testing

@testable import Machine

/// A subscriber that keeps what it hears, until it has heard enough.
private final class Listener: EventSubscriber {
    private let heard = Mutex<(events: [EventRecord], silences: Int)>(([], 0))
    private let limit: Int
    init(limit: Int = .max) { self.limit = limit }

    func take(_ event: EventRecord) -> Bool {
        heard.withLock { heard in
            heard.events.append(event)
            return heard.events.count < limit
        }
    }
    func nothingHappened() -> Bool {
        heard.withLock { $0.silences += 1 }
        return true
    }
    var events: [EventRecord] { heard.withLock { $0.events } }
    var silences: Int { heard.withLock { $0.silences } }
    var numbers: [UInt64] { events.map(\.number) }
}

/// What `--event-monitor` writes, and what subscribers hear.
struct EventMonitorTests {
    private let scratch: ScratchDirectory
    private let deadline = 10

    init() throws { scratch = try ScratchDirectory("events") }

    private func fifo() throws -> String {
        let path = scratch.path("fifo")
        // SAFETY: the path's bytes live through the call.
        guard unsafe mkfifo(path, 0o600) == 0 else { throw Errno.current }
        return path
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    // MARK: The format

    @Test func anEventIsWrittenAsItsClientsReadIt() throws {
        let plain = EventRecord(number: 1, time: 1_500_000_007, source: "vm", event: "booted")
        #expect(
            plain.json.text(.indented) == """
                {
                  "timestamp": {
                    "secs": 1,
                    "nanos": 500000007
                  },
                  "source": "vm",
                  "event": "booted",
                  "properties": null
                }
                """)
        let detailed = EventRecord(
            number: 2, time: 3, source: "vm", event: "device-removed",
            properties: ["id": "disk \"a\"\n", "bdf": "0000:00:05.0"])
        #expect(
            detailed.json.text() == #"{"timestamp":{"secs":0,"nanos":3},"source":"vm","event":"device-removed","#
                + #""properties":{"bdf":"0000:00:05.0","id":"disk \"a\"\n"}}"#)
    }

    @Test func theFileHoldsTheEventsWithABlankLineAfterEach() throws {
        let path = try scratch.write("log", "what was there before")
        let start = HostClock.monotonic
        let monitor = try EventMonitor(.path(path), start: start)
        monitor.emit(.booting)
        monitor.emit(.deviceActivated, ["id": "_disk0"])
        monitor.close()
        let parts = text(try scratch.read("log")).split(separator: "\n\n", omittingEmptySubsequences: false)
        #expect(parts.count == 3 && parts.last == "")
        let lines = parts.map { $0.split(separator: "\n").map { $0.trimmingPrefix { $0 == " " } } }
        #expect(lines[0].contains(#""source": "vm","#) && lines[0].contains(#""event": "booting","#))
        #expect(lines[0].contains(#""properties": null"#))
        #expect(lines[1].contains(#""source": "virtio-device","#) && lines[1].contains(#""id": "_disk0""#))
        #expect(lines[0].contains(#""secs": 0,"#))
        #expect(monitor.dropped == 0)
    }

    @Test func everyEventHasASourceAndAName() {
        #expect(VMEvent.allCases.count == 32)
        for event in VMEvent.allCases {
            #expect(["vmm", "vm", "virtio-device", "guest"].contains(event.source))
            #expect(!event.name.isEmpty && event.rawValue == "\(event.source).\(event.name)")
        }
    }

    // MARK: Targets

    @Test func targetsOfTheCommandLine() throws {
        #expect(try EventTarget(option: "path=/a,b") == .path("/a,b"))
        #expect(try EventTarget(option: "fd=7") == .descriptor(7))
        for wrong in [
            "path=/a,fd=3", "path=/a,foo=1", "", "path=", "fd=", "fd=-1", "fd=x", "fd=4294967296", "/tmp/x",
            "socket=/x",
        ] {
            #expect(throws: EventTargetError.self) { try EventTarget(option: wrong) }
        }
    }

    @Test func aFilesContentStays() throws {
        let path = try scratch.write("events", "before\n")
        let monitor = try EventMonitor(.path(path))
        monitor.emit(.vmmStarting)
        monitor.close()
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.hasPrefix("before\n{") && text.hasSuffix("}\n\n"), "\(text)")
    }

    @Test func targetsThatCannotBeWritten() throws {
        let missing = scratch.path("no/such/file")
        #expect(throws: EventTargetError("\(missing): cannot be opened to write events: \(Errno.noSuchFile)")) {
            try EventMonitor(.path(missing))
        }
        #expect(throws: EventTargetError.self) { try EventMonitor(.path(scratch.path)) }
        #expect(throws: EventTargetError.self) { try EventMonitor(.descriptor(9999)) }
    }

    @Test func anInheritedDescriptorIsWrittenToAndStaysOpen() throws {
        let path = try fifo()
        let pipe = try FileDescriptor.open(path, O_RDWR)
        let monitor = try EventMonitor(.descriptor(pipe.raw))
        monitor.emit(.vmmStarting)
        let expected = "\"event\": \"starting\",\n  \"properties\": null\n}\n\n"
        var got = ""
        #expect(
            Deadline.seconds(deadline).wait {
                got += text(pipe.read(16, by: .init(after: .milliseconds(100))))
                return got.hasSuffix(expected)
            })
        monitor.close()
        // The pipe of those who share it still blocks.
        #expect(cl_fcntl(pipe.raw, F_GETFL, 0) & O_NONBLOCK == 0)
    }

    @Test func aFIFONeedsNoReaderYetAndLosesNone() throws {
        let path = try fifo()
        let monitor = try EventMonitor(.path(path))
        monitor.emit(.vmmStarting)
        for round in 0..<2 {
            let reader = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK)
            var got = ""
            #expect(
                Deadline.seconds(deadline).wait {
                    got += text(reader.read(4096, by: .init(after: .milliseconds(20))))
                    return got.hasSuffix("}\n\n")
                })
            #expect(got.contains(round == 0 ? "starting" : "booted"))
            monitor.emit(.booted)
        }
        monitor.close()
        #expect(monitor.dropped == 0)
    }

    @Test func aFullPipeDropsWholeEvents() throws {
        let path = try fifo()
        let reader = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK)
        let monitor = try EventMonitor(.path(path))
        // More than a pipe holds, one after the other so that none is lost on the way to the thread.
        let listener = Listener()
        try monitor.subscribe(listener)
        for count in 1...800 {
            monitor.emit(.paused, ["filler": String(repeating: "x", count: 200)])
            #expect(Deadline.seconds(deadline).wait { listener.events.count == count })
        }
        #expect(monitor.dropped > 300)
        let first = text(reader.read(1 << 20, by: .init(after: .milliseconds(200))))
        monitor.emit(.resumed)
        monitor.close()
        let rest = text(reader.read(1 << 20, by: .init(after: .milliseconds(200))))
        let parts = (first + rest).split(separator: "\n\n", omittingEmptySubsequences: false)
        #expect(parts.last == "" && parts.dropLast().last?.contains("resumed") == true)
        #expect(parts.dropLast().allSatisfy { $0.hasPrefix("{\n") && $0.hasSuffix("\n}") })
        #expect(UInt64(parts.count - 1) + monitor.dropped == 801)
    }

    @Test func anEventLargerThanThePipeHasRoomForIsFinishedFirst() throws {
        let path = try fifo()
        let reader = try FileDescriptor.open(path, O_RDONLY | O_NONBLOCK)
        let monitor = try EventMonitor(.path(path))
        let listener = Listener()
        try monitor.subscribe(listener)
        monitor.emit(.paused, ["filler": String(repeating: "x", count: 100_000)])
        #expect(Deadline.seconds(deadline).wait { listener.events.count == 1 })
        monitor.emit(.resuming)
        #expect(Deadline.seconds(deadline).wait { monitor.dropped == 1 })
        var got = reader.read(65536)
        monitor.emit(.resumed)
        got += reader.read(100_000, by: .init(after: .milliseconds(500)))
        monitor.close()
        let parts = text(got).split(separator: "\n\n", omittingEmptySubsequences: false)
        #expect(parts.count == 3 && parts[0].hasSuffix("xxx\"\n  }\n}") && parts[1].contains("resumed"))
    }

    @Test func aFullDiskIsReportedOnce() throws {
        let reports = Mutex<[String]>([])
        let monitor = try EventMonitor(.path("/dev/full")) { line in reports.withLock { $0.append(line) } }
        monitor.emit(.booting)
        monitor.emit(.booted)
        monitor.close()
        #expect(reports.withLock { $0.count } == 1 && monitor.dropped == 2)
        #expect(reports.withLock { $0.first?.contains("ENOSPC") } == true)
    }

    // MARK: Subscribers

    @Test func aNewSubscriberHearsTheLastEventsAndThenEachOnce() throws {
        let monitor = try EventMonitor()
        for _ in 0..<100 { monitor.emit(.paused) }
        let first = Listener(), second = Listener()
        try monitor.subscribe(first)
        for _ in 0..<50 { monitor.emit(.resumed) }
        try monitor.subscribe(second)
        monitor.emit(.shutdown)
        #expect(Deadline.seconds(deadline).wait { first.events.count == 115 && second.events.count == 65 })
        #expect(first.numbers == Array(37...151) && second.numbers == Array(87...151))
        #expect(second.events.last?.event == "shutdown")
        let times = first.events.map(\.time)
        #expect(times == times.sorted())
        monitor.close()
    }

    @Test func eventsOfManyThreadsReachEverySubscriberInOneOrder() throws {
        let monitor = try EventMonitor()
        let listeners = [Listener(), Listener()]
        try monitor.subscribe(listeners[0])
        let threads = try (0..<4).map { _ in
            try Thread("emitter") {
                for _ in 0..<200 {
                    monitor.emit(.paused)
                    sleepThread(.microseconds(100))
                }
            }
        }
        try monitor.subscribe(listeners[1])
        for thread in threads { thread.join() }
        #expect(
            Deadline.seconds(deadline).wait { listeners.allSatisfy { $0.numbers.last == 800 } })
        #expect(listeners[0].numbers == Array(1...800))
        let later = listeners[1].numbers
        #expect(later == Array((later.first ?? 0)...800))
        monitor.close()
    }

    @Test func whoHasHeardEnoughIsLeftAlone() throws {
        let monitor = try EventMonitor()
        let short = Listener(limit: 2), long = Listener()
        try monitor.subscribe(short)
        try monitor.subscribe(long)
        for _ in 0..<5 { monitor.emit(.paused) }
        #expect(Deadline.seconds(deadline).wait { long.events.count == 5 })
        #expect(short.events.count == 2)
        monitor.close()
    }

    @Test func silenceIsTold() throws {
        let monitor = try EventMonitor(silence: 20)
        let listener = Listener()
        try monitor.subscribe(listener)
        #expect(Deadline.seconds(deadline).wait { listener.silences >= 3 })
        monitor.emit(.paused)
        #expect(Deadline.seconds(deadline).wait { listener.events.count == 1 })
        monitor.close()
    }

    @Test func withoutListenersThereIsNoThreadAndAfterTheEndNoHarm() throws {
        let monitor = try EventMonitor()
        for _ in 0..<5000 { monitor.emit(.paused) }
        #expect(monitor.dropped == 0)
        monitor.close()
        monitor.emit(.paused)
        try monitor.subscribe(Listener())
        monitor.close()
    }
}
