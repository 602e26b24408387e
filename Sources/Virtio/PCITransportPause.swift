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
        }
    }
}
