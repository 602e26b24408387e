import CLinux
import Foundation
import Host
import TestSupport
import Testing

/// Streams between processes, with descriptors beside the bytes, and locks.
struct UnixStreamTests {
    @Test func descriptorsTravelBesideBytes() throws {
        try UnixStream.withPair { left, right in
            try left.setNonBlocking(true)
            try right.setNonBlocking(true)
            let file = try FileDescriptor.open("/etc/passwd", O_RDONLY)
            var buffer = [UInt8](repeating: 0, count: 100)
            var span = buffer.mutableSpan
            #expect(throws: Errno.wouldBlock) { try right.receive(into: &span) }
            try left.sendAll(Array("one".utf8))
            try left.sendAll(Array("two".utf8), descriptors: [file.raw, file.raw])
            try left.sendAll(Array("three".utf8))
            // The kernel stops behind the bytes that the descriptors came with.
            let first = try right.receive(into: &span)
            #expect(first.count == 6 && first.descriptors?.count == 2 && !first.descriptorsLost)
            guard let copy = first.descriptors?.takeFirst() else { throw Errno.invalid }
            let (status, wanted, number) = (try copy.status(), try file.status(), copy.raw)
            #expect(status == wanted && number != file.raw)
            #expect(cl_fcntl(number, F_GETFD, 0) & FD_CLOEXEC != 0)
            let second = try right.receive(into: &span)
            #expect(second.count == 5 && second.descriptors == nil)
            #expect(left.peer?.process == getpid() && left.peer?.user == getuid())
            left.finishSending()
            #expect(try right.receive(into: &span).count == 0)
            _ = consume left
            #expect(throws: Errno.brokenPipe) { try right.sendAll([1]) }
            #expect(buffer.count == 100)
        }
    }

    /// Whoever does not answer in time is no peer: a listener that takes nobody has room for so many, and the next hears
    /// nothing.
    @Test func aPeerThatDoesNotAnswerIsNoConnection() throws {
        let listener = try StreamListener(.tcp(host: "127.0.0.1", port: 0), backlog: 1)
        var connections: [StreamConnection] = []
        #expect(throws: StreamFault.timeUp) {
            while connections.count < 8 {
                connections.append(try StreamConnection.connect(listener.address, within: 500, heeding: nil))
            }
        }
        #expect(connections.count > 0)
    }

    @Test func receivedDescriptorsHaveOneOwner() throws {
        let file = try FileDescriptor.open("/dev/null", O_RDONLY)
        let numbers = try (0..<3).map { _ in try file.duplicate().release() }
        let all = ReceivedDescriptors()
        do {
            let some = ReceivedDescriptors(owning: Array(numbers[..<2]))
            all.append(some)
            #expect(some.count == 0 && all.count == 2)
        }
        all.append(owning: [numbers[2]])
        for number in numbers {
            let taken = all.takeFirst()?.raw
            #expect(taken == number)
        }
        #expect(all.count == 0)
    }

    @Test func aLockKeepsOthersOut() throws {
        let directory = try ScratchDirectory("lock")
        let path = directory.path("a.lock")
        do {
            let lock = try LockFile(path: path)
            #expect(throws: HostError("lock", path, .wouldBlock)) { _ = try LockFile(path: path) }
            #expect(LockFile.holder(of: path) == getpid() && lock.path == path)
        }
        #expect(try directory.entries().isEmpty && LockFile.holder(of: path) == nil)
        // A file that somebody left behind, with another number in it.
        try directory.write("a.lock", "123456789\n")
        do {
            let lock = try LockFile(path: path)
            #expect(LockFile.holder(of: path) == getpid())
            // One that took its place is not ours to remove.
            try FileManager.default.removeItem(atPath: path)
            try directory.write("a.lock", "x")
            _ = consume lock
        }
        #expect(try directory.entries() == ["a.lock"] && LockFile.holder(of: path) == nil)
    }

    /// A file of that name that is none of ours stays as it is.
    @Test(arguments: ["notes", "123 x", String(repeating: "1", count: 100)])
    func aLockLeavesOtherFilesAlone(_ content: String) throws {
        let directory = try ScratchDirectory("lock")
        let path = try directory.write("a.lock", content)
        #expect(throws: HostError("take over", path, Errno(EEXIST))) { _ = try LockFile(path: path) }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == content)
    }

    @Test func groupsByNameAndNumber() throws {
        #expect(try FileAccess.group("root") == 0)
        #expect(try FileAccess.group("1234") == 1234)
        #expect(try FileAccess.group("no-such-group") == nil)
        #expect(try FileAccess.group("4294967295") == nil && FileAccess.group("") == nil)
    }
}
