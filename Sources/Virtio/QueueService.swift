import Host

extension Virtqueue {
    /// Serves every waiting chain, then waits for the driver's next notification to be asked for.
    ///
    /// - Parameters:
    ///   - depth: is told how many requests there are to do.
    ///   - body: does a request and answers the bytes it wrote into the chain; nil leaves the chain, and all behind it,
    ///     for later.
    package mutating func serve(
        _ interrupt: any InterruptSource, depth: QueueDepth? = nil, _ body: (borrowing DescriptorChain) -> Int?
    ) throws(VirtioError) {
        repeat {
            suppressNotifications()
            while let chain = try pop() {
                let head = chain.head
                if let depth, let more = try? waiting() { depth.set(more &+ 1) }
                guard let written = body(chain) else {
                    undoPop()
                    return
                }
                push(head: head, written: written)
                if needsInterrupt() { interrupt.signal() }
            }
            depth?.set(0)
        } while requestNotifications()
    }
}

/// How many requests a queue has before it, those at hand included; set by its worker.
package final class QueueDepth: Sendable {
    private let number = SoloCounter()
    package init() {}
    /// The requests when the worker looked last.
    package var value: UInt64 { number.value }
    @inline(__always)
    func set(_ count: UInt16) { number.set(UInt64(count)) }
}

/// One queue in a worker's hands.
package struct ServedQueue: ~Copyable, Sendable {
    /// The ring.
    package var queue: Virtqueue
    /// The queue's number, kick and interrupt.
    package let resources: QueueResources
    private let transport: any VirtioTransport
    /// Whether the driver broke the ring; it is not served again before a reset.
    package private(set) var isBroken = false

    /// Resolves a queue of an activation; nil when the driver did not enable it.
    package init?(_ activation: VirtioActivation, _ index: Int) throws(VirtioError) {
        guard let resources = activation.queue(index) else { return nil }
        queue = try Virtqueue(resources, memory: activation.memory, features: activation.features)
        self.resources = resources
        transport = activation.transport
    }

    /// Serves the waiting chains; a broken rule stops this queue and asks for a reset.
    package mutating func serve(depth: QueueDepth? = nil, _ body: (borrowing DescriptorChain) -> Int?) {
        guard !isBroken else { return }
        do throws(VirtioError) {
            try queue.serve(resources.interrupt, depth: depth, body)
        } catch {
            fail(error)
        }
    }

    /// Stops the queue over a broken rule.
    package mutating func fail(_ error: VirtioError) {
        isBroken = true
        transport.needsReset("queue \(resources.index): \(error)")
    }

    /// How far the queue has been worked through.
    package var progress: QueueProgress { queue.progress }
}
