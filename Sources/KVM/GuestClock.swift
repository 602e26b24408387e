import CLinux
import Host
import Snapshot

/// The host's time stamp counter (SDM volume 3, 18.17), which a guest's is an offset from.
package enum HostTSC {
    /// Its value now, in ticks.
    package static var now: UInt64 { cl_tsc() }
}

/// A moment as the guest's clock and the world's have it, which a snapshot keeps.
package struct ClockReading: SavedState {
    package static let kind = "clock"
    package static let version = 1

    /// kvmclock in ns.
    package let nanoseconds: UInt64
    /// ns since 1970 in UTC.
    package let realTime: UInt64

    package init(nanoseconds: UInt64, realTime: UInt64) {
        (self.nanoseconds, self.realTime) = (nanoseconds, realTime)
    }
}

extension VMHandle {
    /// The guest's kvmclock in ns (KVM_GET_CLOCK, api.rst 4.29).
    package func clock() throws(KVMError) -> UInt64 { try readClock().clock }

    /// The guest's kvmclock, and the world's time at the same moment where KVM tells it, or as near as can be.
    package func clockReading() throws(KVMError) -> ClockReading {
        let data = try readClock()
        let isPaired = data.flags & UInt32(KVM_CLOCK_REALTIME) != 0
        return ClockReading(nanoseconds: data.clock, realTime: isPaired ? data.realtime : Self.realTime)
    }

    private func readClock() throws(KVMError) -> kvm_clock_data {
        var data = kvm_clock_data()
        try request(CL_KVM_GET_CLOCK, &data, "read the guest's clock")
        return data
    }

    /// Sets the guest's kvmclock, in ns (KVM_SET_CLOCK, api.rst 4.30). No vCPU runs meanwhile.
    package func setClock(_ nanoseconds: UInt64) throws(KVMError) {
        var data = kvm_clock_data()
        data.clock = nanoseconds
        try request(CL_KVM_SET_CLOCK, &data, "set the guest's clock")
    }

    /// Sets the guest's kvmclock to what it would be now had it gone on with the world's time since a moment. It never
    /// goes back, also where the world's clock did.
    ///
    /// - Returns: the ns by which it went on.
    package func setClock(goneOnSince moment: ClockReading) throws(KVMError) -> UInt64 {
        let now = Self.realTime
        let elapsed = now > moment.realTime ? now - moment.realTime : 0
        // KVM itself does the same where it can (KVM_CLOCK_REALTIME), and leaves less time between the two looks.
        if value(of: .adjustClock) & Int(KVM_CLOCK_REALTIME) != 0, elapsed > 0 {
            var data = kvm_clock_data()
            (data.clock, data.realtime) = (moment.nanoseconds, moment.realTime)
            data.flags = UInt32(KVM_CLOCK_REALTIME)
            try request(CL_KVM_SET_CLOCK, &data, "set the guest's clock")
            let reached = try clock()
            return reached > moment.nanoseconds ? reached - moment.nanoseconds : 0
        }
        let (sum, overflow) = moment.nanoseconds.addingReportingOverflow(elapsed)
        try setClock(overflow ? moment.nanoseconds : sum)
        return overflow ? 0 : elapsed
    }

    private static var realTime: UInt64 {
        let now = HostClock.realTime
        return UInt64(clamping: now.seconds) &* 1_000_000_000 &+ UInt64(clamping: now.nanoseconds)
    }
}

extension VCPUHandle {
    /// The guest's time stamp counter minus the host's, in ticks, wrapping (KVM_VCPU_TSC_OFFSET,
    /// Documentation/virt/kvm/devices/vcpu.rst section 4.1); nil where KVM does not tell.
    package func tscOffset() -> UInt64? {
        var offset: UInt64 = 0
        return transferTSCOffset(CL_KVM_GET_DEVICE_ATTR, &offset) ? offset : nil
    }

    /// Sets that difference; false where KVM cannot.
    package func setTSCOffset(_ offset: UInt64) -> Bool {
        var offset = offset
        return transferTSCOffset(CL_KVM_SET_DEVICE_ATTR, &offset)
    }

    private func transferTSCOffset(_ number: UInt, _ offset: inout UInt64) -> Bool {
        // SAFETY: KVM reads the attribute, and reads or writes the eight bytes at its address, during the call alone.
        unsafe withUnsafeMutablePointer(to: &offset) { place in
            var attribute = kvm_device_attr(
                flags: 0, group: UInt32(KVM_VCPU_TSC_CTRL), attr: UInt64(KVM_VCPU_TSC_OFFSET),
                addr: UInt64(UInt(bitPattern: place)))
            return unsafe cl_ioctl_pointer(file.raw, number, &attribute) >= 0
        }
    }

    /// Tells the guest's kernel that it was stopped, so that its watchdogs do not take the time for a lock-up
    /// (KVM_KVMCLOCK_CTRL, api.rst 4.74). A guest that does not use kvmclock has none to tell.
    package func tellOfPause() { _ = cl_ioctl_value(file.raw, CL_KVM_KVMCLOCK_CTRL, 0) }
}
