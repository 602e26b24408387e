import Host

extension Virtqueue {
    /// Serves every waiting chain, then waits for the driver's next notification to be asked for.
    ///
    /// - Parameter body: does a request and answers the bytes it wrote into the chain; nil leaves the chain, and all
    ///   behind it, for later.
    package mutating func serve(
        _ interrupt: any InterruptSource, _ body: (borrowing DescriptorChain) -> Int?
    ) throws(VirtioError) {
        repeat {
            suppressNotifications()
            while let chain = try pop() {
                let head = chain.head
                guard let written = body(chain) else {
                    undoPop()
                    return
                }
                push(head: head, written: written)
                if needsInterrupt() { interrupt.signal() }
            }
        } while requestNotifications()
    }
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
    package mutating func serve(_ body: (borrowing DescriptorChain) -> Int?) {
        guard !isBroken else { return }
        do throws(VirtioError) {
            try queue.serve(resources.interrupt, body)
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
