import Host
import Snapshot
import Synchronization
import Virtio

/// The socket device (virtio 1.2 section 5.10): streams between programs of the guest and programs of the host, which
/// meet them at Unix sockets.
///
/// A program of the host connects to the backend's socket, sends `CONNECT <port>\n` and, once a program of the guest
/// has accepted, gets `OK <port>\n`; where nobody listens, the connection ends. A guest's connection to port P of
/// the host goes to the Unix socket `<socket>_P`.
package final class VsockDevice: VirtioDevice {
    package let type = VirtioType.vsock
    package let id: String
    /// VIRTIO_VSOCK_F_STREAM.
    package let features: UInt64 = 1
    package let queueSizes: [UInt16] = [256, 256, 64]
    /// The guest's context id.
    package let configurationSize = 8
    private let backend: VsockBackend
    private let requests: VsockRequests
    private let worker = Mutex<QueueWorker<VsockWorker>?>(nil)
    /// The connections while the device stands still.
    private let parked = Mutex<VsockCore?>(nil)

    package init(id: String, _ backend: VsockBackend) throws(HostError) {
        self.id = id
        self.backend = backend
        requests = try VsockRequests()
    }

    /// What it did so far, in all lives of the guest.
    package var metrics: VsockMetrics { backend.metrics }

    package func configuration() -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: UInt64(backend.settings.cid) >> (8 * UInt64($0))) }
    }

    package func writeConfiguration(offset: Int, bytes: [UInt8]) {}

    package var reading: DeviceReading { metrics.reading }

    package func activate(_ activation: VirtioActivation) throws(VirtioError) {
        guard let queues = try VsockQueues(activation) else { return }
        do throws(HostError) {
            let core = parked.withLock { core in
                defer { core = nil }
                return core
            }
            let body = try VsockWorker(queues: queues, core ?? VsockCore(backend), requests: requests)
            let started = try QueueWorker("vsock-\(id.suffix(9))", body)
            worker.withLock { $0 = started }
        } catch {
            throw .host(error)
        }
    }

    /// Stops moving packets; connections stay as they are, and clients that come from now on wait.
    package func deactivate() -> [Int: QueueProgress] {
        let running = worker.withLock { worker in
            defer { worker = nil }
            return worker
        }
        guard let body = running?.stop() else { return [:] }
        var progress: [Int: QueueProgress] = [:]
        var core: VsockCore?
        body.release(&core).collect(&progress)
        parked.withLock { $0 = core }
        return progress
    }

    /// Ends every connection; clients that come from now on wait for the next driver.
    package func reset() {
        parked.withLock { core in
            core?.removeAll()
            core = nil
        }
        requests.transportReset.store(false, ordering: .relaxed)
    }

    /// A guest of a snapshot holds connections that the host does not have.
    package func restore(from document: StateDocument, as name: String) throws(SnapshotError) {
        requestTransportReset()
    }

    /// Ends every connection and tells the guest's driver that they are gone and that its context id may have changed:
    /// for a guest that was restored from a snapshot, which holds no connections.
    ///
    /// A device that is not active yet does so when it is.
    package func requestTransportReset() {
        requests.transportReset.store(true, ordering: .relaxed)
        requests.event.signal()
    }
}
