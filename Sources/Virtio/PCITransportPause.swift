/// Standing still: the workers end and leave their queues' progress in the registers, where a snapshot finds it.
extension PCITransport {
    /// Ends the workers after the requests that they have accepted, until `resume`.
    ///
    /// - Returns: whether there were workers.
    @discardableResult
    package func pause() -> Bool {
        guarded.withLock { guarded in
            guard guarded.active else { return false }
            guarded.registers.progress = device.deactivate()
            guarded.active = false
            return true
        }
    }

    /// Starts the workers of a device whose driver is ready again where they stopped.
    package func resume() {
        guarded.withLock { guarded in
            guard guarded.registers.status.contains(.driverOK), !guarded.active else { return }
            activate(&guarded)
            if guarded.isRestored { remind(&guarded) }
        }
    }

    /// Raises the interrupts of the queues of a guest that goes on from a snapshot: one may have been on its way into the
    /// interrupt chip when that was saved. A driver that finds nothing new in a queue lets it be.
    private func remind(_ guarded: inout Guarded) {
        guarded.isRestored = false
        for (index, queue) in guarded.registers.queues.enumerated() where queue.enabled {
            let vector = Int(guarded.registers.queueVectors[index])
            if vector < vectors.count { vectors[vector].signal() }
        }
        if guarded.hasChanged { configurationChanged() }
        guarded.hasChanged = false
    }
}
