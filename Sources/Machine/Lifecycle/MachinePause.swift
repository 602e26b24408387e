import Boot
import Host
import KVM

/// The guest's time as it was when it stopped.
struct StoppedTime {
    /// kvmclock, and the world's time; nil where KVM does not tell.
    let clock: ClockReading?
    /// The host's time stamp counter then, in ticks.
    let hostTSC: UInt64
    /// Whether the guest comes from a snapshot: its clocks go on as if it had never stopped, for the world went on too.
    var isRestored = false
    /// Whether it is the only one of its kind: nothing has to tell it otherwise.
    var isSameMachine = false
}

/// Standing still and going on, called from the VM's control thread.
extension MachineInstance {
    /// How long a vCPU may take to leave the guest, in ns.
    static let patience: UInt64 = 3_000_000_000

    /// The longest time between two looks whether the vCPUs have left the guest, in us.
    private static let longestRest = 1000

    /// Stops the vCPUs between two instructions, then the device workers after the requests that they have accepted.
    ///
    /// - Throws: when a vCPU does not leave the guest; the others go on then.
    func pause() throws(MachineError) {
        for runner in runners { runner.askToPark() }
        let deadline = HostClock.monotonic + Self.patience
        var waiting = runners.filter { !$0.isParked }
        // The guest's downtime has begun: most vCPUs take some ten us.
        var rest = 16
        while !waiting.isEmpty {
            guard HostClock.monotonic < deadline else {
                for runner in runners { runner.unpark() }
                let names = waiting.map { String($0.index) }.joined(separator: ", ")
                throw .host("vCPU \(names) did not leave the guest within 3 s: KVM holds it; the VM runs on")
            }
            HostClock.sleep(microseconds: rest)
            waiting.removeAll { $0.isParked }
            // A kick that came just before the entry into the guest is lost where KVM looks at no flag.
            if rest == Self.longestRest { for runner in waiting { runner.kick() } }
            rest = min(2 * rest, Self.longestRest)
        }
        for transport in transports { transport.pause() }
        let stopped = StoppedTime(clock: try? machine.clockReading(), hostTSC: HostTSC.now)
        stoppedTime.withLock { $0 = stopped }
    }

    /// Lets the guest go on; its clocks go on from where they stopped, those of a guest from a snapshot from where they
    /// would be.
    ///
    /// - Throws: when KVM refuses its clock; the VM stays as it is.
    func resume() throws(MachineError) {
        let stopped = stoppedTime.withLock { $0 }
        if let stopped {
            do throws(KVMError) { try goOn(after: stopped) } catch { throw .host("\(error)") }
        }
        stoppedTime.withLock { $0 = nil }
        for transport in transports { transport.resume() }
        if stopped?.isRestored == true {
            legacy.serial?.goOn()
            if stopped?.isSameMachine == false { acpi.raise(ACPIEvent.generation.rawValue) }
        }
        for runner in runners { runner.unpark() }
    }

    private func goOn(after stopped: StoppedTime) throws(KVMError) {
        var skipped: UInt64 = 0
        if let clock = stopped.clock {
            if stopped.isRestored {
                skipped = try machine.setClock(goneOnSince: clock)
            } else {
                try machine.setClock(clock.nanoseconds)
            }
        }
        // One difference for all vCPUs: their counters stay equal (Documentation/virt/kvm/devices/vcpu.rst, 4.1).
        let elapsed = HostTSC.now &- stopped.hostTSC
        for runner in runners {
            let vcpu = runner.handle
            if let offset = vcpu.tscOffset() {
                let scale = vcpu.tscScale
                _ = vcpu.setTSCOffset(
                    offset &- scale.guestTicks(elapsed) &+ scale.guestTicks(nanoseconds: skipped))
            }
            if stopped.isRestored { try vcpu.renewDeadline() }
        }
        for runner in runners { runner.handle.tellOfPause() }
    }

    /// Raises a non-maskable interrupt in every vCPU; in a VM that stands still it waits until the VM goes on.
    func raiseNMI() {
        for runner in runners { runner.askForNMI() }
    }
}
