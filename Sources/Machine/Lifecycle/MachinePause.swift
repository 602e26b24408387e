import Host
import KVM

/// The guest's time as it was when it stopped.
struct StoppedTime {
    /// kvmclock in ns; nil where KVM does not tell.
    let clock: UInt64?
    /// The host's time stamp counter then, in ticks.
    let hostTSC: UInt64
}

/// Standing still and going on, called from the VM's control thread.
extension MachineInstance {
    /// How long a vCPU may take to leave the guest, in ns.
    private static let patience: UInt64 = 3_000_000_000

    /// Stops the vCPUs between two instructions, then the device workers after the requests that they have accepted.
    ///
    /// - Throws: when a vCPU does not leave the guest; the others go on then.
    func pause() throws(MachineError) {
        for runner in runners { runner.askToPark() }
        let deadline = HostClock.monotonic + Self.patience
        var waiting = runners.filter { !$0.isParked }
        while !waiting.isEmpty {
            guard HostClock.monotonic < deadline else {
                for runner in runners { runner.unpark() }
                let names = waiting.map { String($0.index) }.joined(separator: ", ")
                throw .host("vCPU \(names) did not leave the guest within 3 s: KVM holds it; the VM runs on")
            }
            HostClock.sleep(milliseconds: 1)
            waiting.removeAll { $0.isParked }
            // A kick that came just before the entry into the guest is lost where KVM looks at no flag.
            for runner in waiting { runner.kick() }
        }
        for transport in transports { transport.pause() }
        let stopped = StoppedTime(clock: try? machine.clock(), hostTSC: HostTSC.now)
        stoppedTime.withLock { $0 = stopped }
    }

    /// Lets the guest go on; its clocks go on from where they stopped.
    ///
    /// - Throws: when KVM refuses its clock; the VM stays as it is.
    func resume() throws(MachineError) {
        let stopped = stoppedTime.withLock { $0 }
        if let stopped {
            if let clock = stopped.clock {
                do throws(KVMError) { try machine.setClock(clock) } catch { throw .host("\(error)") }
            }
            // One difference for all vCPUs: their counters stay equal.
            let elapsed = HostTSC.now &- stopped.hostTSC
            for runner in runners {
                if let offset = runner.handle.tscOffset() { _ = runner.handle.setTSCOffset(offset &- elapsed) }
            }
            for runner in runners { runner.handle.tellOfPause() }
        }
        stoppedTime.withLock { $0 = nil }
        for transport in transports { transport.resume() }
        for runner in runners { runner.unpark() }
    }

    /// Raises a non-maskable interrupt in every vCPU; in a VM that stands still it waits until the VM goes on.
    func raiseNMI() {
        for runner in runners { runner.askForNMI() }
    }
}
