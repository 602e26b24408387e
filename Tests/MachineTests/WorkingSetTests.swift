import Foundation
import Host
import Snapshot
import Spec
import TestSupport
import Testing

@testable import Machine

/// What a guest's run leaves for the next one.
@Suite(.serialized) struct WorkingSetTests {
    /// A guest that writes the pages from 3 to 48 MiB, says so, and then reads three of them again and again.
    private static let reader = TinyKernel([
        0xBF, 0x00, 0x00, 0x30, 0x00,  // mov edi, 0x300000
        0x89, 0x3F,  // next: mov [edi], edi
        0x81, 0xC7, 0x00, 0x10, 0x00, 0x00,  // add edi, 0x1000
        0x81, 0xFF, 0x00, 0x00, 0x00, 0x03,  // cmp edi, 0x3000000
        0x72, 0xF0,  // jb next
        0xB0, 0x01,  // mov al, 1
        0xE6, 0x80,  // out 0x80, al
        0xA1, 0x00, 0x00, 0x68, 0x00,  // again: mov eax, [0x680000]
        0xA1, 0x00, 0x00, 0x40, 0x00,  // mov eax, [0x400000]
        0xA1, 0x00, 0x00, 0x50, 0x00,  // mov eax, [0x500000]
        0xEB, 0xEF,  // jmp again
    ])
    private static let touched = [0x680, 0x400, 0x500]

    private func counter(_ vm: RunningVM, _ name: String) -> Int64 {
        guard case .object(let parts)? = vm.controller.status.counters, case .object(let memory)? = parts["__memory"],
            case .number(let number)? = memory[name]
        else { return -1 }
        return number.integer(Int64.self) ?? -1
    }

    /// The runs of pages in a file.
    private func runs(_ bytes: [UInt8]) -> [Range<Int>] {
        func number(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) } }
        return stride(from: 40, to: bytes.count, by: 8).map { number($0)..<number($0) + number($0 + 4) }
    }

    @Test func theNextGuestFindsItsPagesInThePageCache() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("working-set")
            var config = Guests.config(mebibytes: 64)
            config.serial = ConsoleConfig(mode: .off)
            config.payload = PayloadConfig()
            config.payload?.kernel = try scratch.write("kernel", Self.reader.elf)
            let vm = try RunningVM()
            try vm.create(config)
            try vm.command(.boot)
            #expect(
                Deadline.seconds(20).wait { vm.controller.status.read { $0.instance }?.debugPort.observed.code == 1 })
            try vm.command(.pause)
            let path = scratch.path("snapshot")
            try vm.command(.snapshot(SnapshotRequest(path: path)))
            #expect(vm.end() == .quit)

            let file = "\(path)/memory.bin"
            var request = RestoreRequest(path: path)
            request.memoryMode = .onDemand
            let first = try RunningVM()
            try PageCache.drop(file)
            try first.command(.restore(request, ReceivedDescriptors()))
            #expect(try scratch.entries().count == 2 && !FileManager.default.fileExists(atPath: path + "/working-set"))
            try first.command(.resume)
            #expect(Deadline.seconds(20).wait { counter(first, "touched_pages") >= 3 })
            try first.command(.delete)
            let set = runs(try scratch.read("snapshot/working-set"))
            for page in Self.touched { #expect(set.contains { $0.contains(page) }, "\(page) in \(set)") }
            #expect(!set.contains { $0.contains(0x1E00) }, "\(set)")
            #expect(try SnapshotChain(opening: path).verify().snapshots == 1)

            // A guest that stands still finds its pages all the same.
            try PageCache.drop(file)
            let dropped = try PageCache.pages(file)
            #expect(Self.touched.allSatisfy { !dropped[$0] })
            try first.command(.restore(request, ReceivedDescriptors()))
            #expect(
                try Deadline.seconds(20).wait {
                    let cached = try PageCache.pages(file)
                    return Self.touched.allSatisfy { cached[$0] }
                })
            #expect(counter(first, "prefetched_bytes") >= 3 * 4096 && counter(first, "touched_pages") == 0)
            try first.command(.delete)
            // One that is not to be read ahead.
            try PageCache.drop(file)
            request.prefetch = false
            try first.command(.restore(request, ReceivedDescriptors()))
            #expect(counter(first, "prefetched_bytes") == 0)
            #expect(first.end() == .quit)
        }
    }

    /// Whatever moment the VM goes at, nothing of it is left.
    @Test func endsWithTheVM() throws {
        try Guests.alone {
            let scratch = try ScratchDirectory("working-set")
            var config = Guests.config(mebibytes: 64)
            config.serial = ConsoleConfig(mode: .off)
            config.payload = PayloadConfig()
            config.payload?.kernel = try scratch.write("kernel", Self.reader.elf)
            let vm = try RunningVM()
            try vm.create(config)
            try vm.command(.boot)
            try vm.command(.pause)
            let path = scratch.path("snapshot")
            try vm.command(.snapshot(SnapshotRequest(path: path)))
            try vm.command(.delete)
            var request = RestoreRequest(path: path)
            (request.memoryMode, request.resume) = (.onDemand, true)
            for round in 0..<6 {
                try vm.command(.restore(request, ReceivedDescriptors()))
                sleepThread(.milliseconds(round * 7))
                try vm.command([.delete, .shutdown, .reboot][round % 3])
                #expect(vm.controller.status.read { $0.paging == nil }, "round \(round)")
                try vm.command(.delete)
            }
            #expect(
                try FileManager.default.fileExists(atPath: path + "/working-set") && Guests.nothingIsLeft()
            )
            #expect(vm.end() == .quit)
        }
    }
}
