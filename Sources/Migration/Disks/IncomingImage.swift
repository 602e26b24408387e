import Glibc
import Host
import Synchronization

/// The image of a disk that comes: a draft beside its place until the machine is made, then at its place, and gone again
/// unless it is kept.
final class IncomingImage: Sendable {
    private enum Stage { case draft, named, kept, gone }

    let path: String
    let size: UInt64
    private let id: String
    private let file: FileDescriptor
    private let stage = Mutex(Stage.draft)
    /// Bytes that were written and not waited for.
    private let unsynced = Atomic<UInt64>(0)

    /// What a draft's name ends with. One that a process left that died is nobody's any more, and makes way.
    static let suffix = ".swiftlet-incoming"
    /// Bytes that may wait for their disk: what is to be waited for while the guest stands still.
    private static let backlog: UInt64 = 128 << 20

    /// Where it is until it gets its name.
    var draft: String { path + Self.suffix }

    /// Makes an image of zeroes.
    ///
    /// - Throws: where something is at its path, or it cannot be made; nothing is left then.
    init(_ disk: MirroredDisk, at path: String) throws(MigrationError) {
        (id, self.path, size) = (disk.id, path, disk.size)
        let failure = Self.failure(disk.id, path)
        guard !path.hasPrefix("/dev/") else {
            throw failure("a new image cannot be made there; \(Self.elsewhere)")
        }
        guard !Directory.exists(path) else {
            throw failure("exists already, and is not written over; move it away, or \(Self.elsewhere)")
        }
        let draft = path + Self.suffix
        file = try Self.make(draft, failure)
        do throws(HostError) { try file.truncate(to: disk.size, path: draft) } catch {
            FileDescriptor.remove(draft)
            throw failure("its file system does not take a file of \(disk.size) bytes: \(error.errno)")
        }
    }

    private static let elsewhere = "give the disk another path (disks of vm.receive-migration)"

    private static func failure(_ id: String, _ path: String) -> (String) -> MigrationError {
        { MigrationError(.machine, "the disk \"\(id)\": \(path): \($0)") }
    }

    private func failure(_ words: String) -> MigrationError { Self.failure(id, path)(words) }

    /// Makes the draft, whose lock says that somebody is at it.
    private static func make(
        _ draft: String, _ failure: (String) -> MigrationError
    ) throws(MigrationError) -> FileDescriptor {
        for _ in 0..<8 {
            do throws(HostError) {
                let file = try FileDescriptor.createNew(draft)
                // Somebody may have taken it for a dead process's before it was locked.
                if try file.tryLock(path: draft), file.isAt(draft) { return file }
                continue
            } catch {
                guard error.errno == .exists else { throw failure(words(error.errno)) }
            }
            let problem: String?
            do throws(HostError) { problem = try removeLeftover(draft) } catch {
                // It is gone by itself meanwhile.
                problem = error.errno == .noSuchFile ? nil : "is there and cannot be removed: \(error.errno)"
            }
            if let problem { throw failure("\(draft) \(problem)") }
        }
        throw failure("\(draft) comes and goes; is another migration at it?")
    }

    /// Removes a draft that nobody is at.
    ///
    /// - Returns: why it stays; nil where it is gone.
    private static func removeLeftover(_ draft: String) throws(HostError) -> String? {
        let old = try FileDescriptor.open(draft, O_WRONLY | O_NOFOLLOW | O_NONBLOCK)
        guard try old.status().kind == .regular else { return "is no file; move it away" }
        guard try old.tryLock(path: draft) else { return "is there: another migration, or another disk, is brought" }
        if old.isAt(draft) { FileDescriptor.remove(draft) }
        return nil
    }

    private static func words(_ errno: Errno) -> String {
        let remedy =
            switch errno {
            case .noSuchFile, .notDirectory: "; make its directory, or \(elsewhere)"
            case .accessDenied, .notPermitted, .readOnly: "; let this user write its directory, or \(elsewhere)"
            case .noSpace, .quotaExceeded: "; make room there, or \(elsewhere)"
            default: ""
            }
        return "cannot be made: \(errno)\(remedy)"
    }

    // MARK: Filling

    /// Writes bytes, which lie on the disk.
    func write(_ bytes: HostRange, at offset: UInt64) throws(MigrationError) {
        do throws(Errno) {
            try file.writeAll(bytes, at: offset)
            file.startWriteback(at: offset, count: bytes.count)
            let waiting = unsynced.wrappingAdd(UInt64(bytes.count), ordering: .relaxed).newValue
            // A disk that is slower than the line slows the line down.
            if waiting >= Self.backlog { try sync() }
        } catch {
            throw writeFailure(error)
        }
    }

    /// Has a range, which lies on the disk, read as zeroes.
    func clear(at offset: UInt64, count: UInt64) throws(MigrationError) {
        do throws(Errno) { try file.clearRange(at: offset, count: count) } catch { throw writeFailure(error) }
        unsynced.wrappingAdd(1, ordering: .relaxed)
    }

    private func sync() throws(Errno) {
        // What is written from here on is waited for the next time.
        if unsynced.exchange(0, ordering: .relaxed) > 0 { try file.syncBytes() }
    }

    private func writeFailure(_ errno: Errno) -> MigrationError {
        let remedy = errno == .noSpace || errno == .quotaExceeded ? "; make room there, or \(Self.elsewhere)" : ""
        return failure("cannot be written: \(errno)\(remedy)")
    }

    /// Waits until all of it is on its disk.
    func settle() throws(MigrationError) {
        do throws(Errno) { try sync() } catch { throw writeFailure(error) }
    }

    // MARK: Its name

    /// Gives it its name, on its disk too.
    func install() throws(MigrationError) {
        do throws(Errno) {
            // Its length and its holes as well, of an image of which nothing was written.
            try file.syncBytes()
        } catch { throw writeFailure(error) }
        guard file.isAt(draft) else { throw failure("its draft \(draft) has been removed or replaced meanwhile") }
        do throws(HostError) { try Directory.renameNew(draft, to: path) } catch {
            throw failure(
                error.errno == .exists
                    ? "exists by now, and is not written over; \(Self.elsewhere)"
                    : "cannot get its name: \(error.errno)")
        }
        stage.withLock { $0 = .named }
        do throws(HostError) {
            let parent = Directory.parent(of: path)
            try Directory.open(parent).sync(path: parent)
        } catch {
            // Some file systems cannot sync a directory, and keep what is in it all the same.
            guard error.errno == .invalid else {
                throw failure("its name cannot be written to its disk: \(error.errno)")
            }
        }
    }

    /// It is the machine's from here on.
    func keep() { stage.withLock { $0 = .kept } }

    /// Removes it, wherever it is by now, unless it is kept or somebody put something else in its place.
    func discard() {
        let old = stage.withLock { stage in
            defer { if stage != .kept { stage = .gone } }
            return stage
        }
        let name: String
        switch old {
        case .draft: name = draft
        case .named: name = path
        case .kept, .gone: return
        }
        if file.isAt(name) { FileDescriptor.remove(name) }
    }

    deinit { discard() }
}
