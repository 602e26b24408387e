import Foundation
import TestSupport
import Testing

extension LinuxGuests.Snapshot {
    /// A guest at work goes on over a chain of diffs, read at once and on demand in turn, as if nothing had happened; clones
    /// of it know that they are others.
    @Test func goesOnOverAChainOfDiffs() throws {
        try withGuest("chain") { scratch in
            let chain = try SnapshotChain(in: scratch)
            for number in 1...SnapshotChain.steps { try chain.step(number) }
            let clones = try chain.clones()
            let report = try chain.finish()
            try #require(report.isClean, "\(report)")
            // Neither a gap nor a repeat, on each vCPU and each way over the network.
            for vcpu in 0..<4 {
                let counted = try #require(report["counted\(vcpu)"].flatMap { Int($0) }, "\(report)")
                #expect(report.all("cpu\(vcpu)").map { Int($0) } == (1...counted).map { $0 })
            }
            let sent = try #require(report["sent"].flatMap { Int($0) }, "\(report)")
            #expect(try chain.heard() == Array(1...sent))
            for key in ["heard", "files", "compiled"] {
                let done = try #require(report[key].flatMap { Int($0) }, "\(report)")
                // A compilation may take as long as a step does.
                #expect(done > 1, "\(key): \(done)")
                tell("chain: \(key) \(done)")
            }
            tell("chain: \(SnapshotChain.steps) snapshots of \(try chain.mebibytes()) MiB together")
            let check = try chain.checkFileSystem()
            #expect(check.succeeded, "\(check)")
            #expect(report["complaints"] == "0", "\(report.all("complaint"))\n\(report)")
            let date = try #require(report["date"].flatMap { Double($0) })
            #expect(abs(date - Date().timeIntervalSince1970) < 20, "\(report)")
            // A kernel with the driver hears of each new id. Nobody has the random numbers of another one.
            #expect(["never", "\(SnapshotChain.steps)"].contains(report["reseeded"]), "\(report)")
            let all = SnapshotChain.identities(report.lines) + clones
            let generations = Set(report.all("generation") + clones.map(\.generation))
            #expect(generations.count == SnapshotChain.steps + 3, "\(generations)")
            #expect(Set(all.map(\.random)).count == all.count, "\(all)")
        }
    }
}
