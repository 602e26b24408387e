import Host
import Memory
import TestSupport
import Testing
import Virtio

/// The ring's bookkeeping and the two ways to hold notifications and interrupts back (virtio 1.2 sections 2.7.7 to 2.7.10).
struct VirtqueueTests {
    @Test func chainsGoRoundTheRingAndTheIndices() throws {
        let driver = try makeDriver(size: 4, start: 65530)
        var queue = try makeQueue(driver)
        for round in 0..<20 {
            let head = try driver.send([.readable(Place.buffers, 1), .writable(Place.buffers, UInt32(round + 1))])
            let shape = try queue.popShape()
            #expect(shape?.head == head)
            #expect(shape?.writableBytes == round + 1)
            let none = try queue.popShape()
            #expect(none == nil)
            queue.push(head: head, written: round)
            let entry = try driver.waitUsed()
            #expect(entry == (UInt32(head), UInt32(round)))
        }
        let progress = queue.progress
        #expect(progress == QueueProgress(nextAvailable: 65530 &+ 20, nextUsed: 65530 &+ 20))
    }

    @Test func chainsMayBePutBackAndSkipped() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        let first = try driver.send([.writable(Place.buffers, 1)])
        let second = try driver.send([.writable(Place.buffers, 2)])
        let waiting = try queue.waiting()
        #expect(waiting == 2)
        _ = try queue.popShape()
        _ = try queue.popShape()
        queue.undoPop()
        queue.undoPop()
        let again = try queue.popShape()
        #expect(again?.head == first)
        queue.undoPop()
        queue.skip(1)
        let behind = try queue.popShape()
        #expect(behind?.head == second)
    }

    @Test func unpublishedEntriesStayUnseen() throws {
        let driver = try makeDriver(size: 4, start: 65534)
        var queue = try makeQueue(driver)
        for _ in 0..<3 { try driver.send([.writable(Place.buffers, 8)]) }
        for ahead in 0..<3 as Range<UInt16> {
            guard let shape = try queue.popShape() else { throw FakeDriverError(description: "no chain") }
            queue.write(head: shape.head, written: Int(ahead) + 10, ahead: ahead)
        }
        #expect(try driver.usedIndex == 65534)
        queue.publish(3)
        #expect(try driver.usedIndex == 1)
        for index in 0..<3 as Range<UInt16> {
            let entry = try driver.usedEntry(65534 &+ index)
            #expect(entry == (UInt32(index), UInt32(index) + 10))
        }
    }

    // MARK: Interrupts

    @Test func driverFlagHoldsInterruptsBack() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        func push(_ queue: inout Virtqueue) throws -> Bool {
            let head = try driver.send([.writable(Place.buffers, 1)])
            _ = try queue.popShape()
            queue.push(head: head, written: 1)
            return queue.needsInterrupt()
        }
        let first = try push(&queue)
        #expect(first)
        let nothingNew = queue.needsInterrupt()
        #expect(!nothingNew)
        try driver.setAvailableFlags(1)
        let held = try push(&queue)
        #expect(!held)
        try driver.setAvailableFlags(0)
        let last = try push(&queue)
        #expect(last)
    }

    /// The condition of 2.7.7.2 in its plain words: an interrupt when the index that the driver named is among those
    /// just filled.
    @Test(arguments: [0, 1, 7, 65530, 65535] as [UInt16])
    func eventIndexSaysWhenToInterrupt(start: UInt16) throws {
        for wishAhead in -3...6 {
            for batch in 1...4 {
                let driver = try makeDriver(size: 4, start: start)
                var queue = try makeQueue(driver, features: Place.eventIndex)
                let wish = start &+ UInt16(truncatingIfNeeded: wishAhead)
                try driver.setUsedEvent(wish)
                for _ in 0..<batch {
                    let head = try driver.send([.writable(Place.buffers, 1)])
                    _ = try queue.popShape()
                    queue.push(head: head, written: 1)
                }
                let filled = (0..<batch).contains { start &+ UInt16($0) == wish }
                let asked = queue.needsInterrupt()
                #expect(asked == filled, "start \(start), wish \(wish), batch \(batch)")
                let again = queue.needsInterrupt()
                #expect(!again)
            }
        }
    }

    @Test func driverFlagIsIgnoredWithEventIndex() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver, features: Place.eventIndex)
        try driver.setAvailableFlags(1)
        let head = try driver.send([.writable(Place.buffers, 1)])
        _ = try queue.popShape()
        queue.push(head: head, written: 1)
        let asked = queue.needsInterrupt()
        #expect(asked)
    }

    // MARK: Notifications

    @Test func flagHoldsNotificationsBack() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        queue.suppressNotifications()
        #expect(try driver.usedFlags == 1)
        let nothing = queue.requestNotifications()
        #expect(!nothing)
        #expect(try driver.usedFlags == 0)
        queue.suppressNotifications()
        try driver.send([.readable(Place.buffers, 1)])
        let missed = queue.requestNotifications()
        #expect(missed)
    }

    @Test func eventIndexAsksForTheNextChain() throws {
        let driver = try makeDriver(size: 4, start: 65535)
        var queue = try makeQueue(driver, features: Place.eventIndex)
        queue.suppressNotifications()
        #expect(try driver.usedFlags == 0)
        let nothing = queue.requestNotifications()
        #expect(!nothing)
        #expect(try driver.availableEvent == 65535)
        try driver.send([.readable(Place.buffers, 1)])
        let missed = queue.requestNotifications()
        #expect(missed)
        _ = try queue.popShape()
        let caughtUp = queue.requestNotifications()
        #expect(!caughtUp)
        #expect(try driver.availableEvent == 0)
    }

    // MARK: Dirty pages

    @Test func writtenPagesAreMarkedWhileTracking() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        func exchange(_ queue: inout Virtqueue) throws {
            let head = try driver.send([.readable(0x20000, 8192), .writable(0x11FFF, 2), .writable(0x30000, 4096)])
            _ = try queue.popShape()
            queue.push(head: head, written: 3)
        }
        try exchange(&queue)
        driver.memory.dirty.setTracking(true)
        #expect(driver.memory.dirty.take().allSatisfy { $0 == 0 })
        // The driver's own stores go through the same calls here, so only the device's pages are looked at.
        try exchange(&queue)
        let pages = driver.memory.dirty.take()
        func isDirty(_ page: Int) -> Bool { pages[page / 64] >> UInt64(page % 64) & 1 == 1 }
        #expect(isDirty(0x11) && isDirty(0x12) && isDirty(0x30))
        #expect(!isDirty(0x20) && !isDirty(0x21) && !isDirty(0x13) && !isDirty(0x31))
        #expect(isDirty(Int(driver.used / 4096)))
    }

    /// A live migration takes the bits and copies the pages while a device is at work: what it writes behind that has to
    /// be marked again.
    @Test func pagesAreMarkedWhenTheyHaveTheirBytes() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        driver.memory.dirty.setTracking(true)
        func isDirty(_ page: Int) -> Bool { driver.memory.dirty.take()[page / 64] >> UInt64(page % 64) & 1 == 1 }
        for address in [UInt64(0x30000), 0x32000] { try driver.send([.writable(address, 4096)]) }
        guard let first = try queue.pop() else { throw FakeDriverError(description: "no chain") }
        let heads = [first.head]
        #expect(!isDirty(0x30))
        first.write([1, 2, 3].span, at: 0)
        queue.write(head: heads[0], written: 3, ahead: 0)
        #expect(isDirty(0x30))
        guard let second = try queue.pop() else { throw FakeDriverError(description: "no chain") }
        second.write([4].span, at: 0)
        queue.write(head: second.head, written: 1, ahead: 1)
        #expect(isDirty(0x32))
        // The first one is written once more before the driver sees both.
        for _ in 0..<2 { queue.undoPop() }
        guard let again = try queue.pop() else { throw FakeDriverError(description: "no chain") }
        again.write([5].span, at: 0)
        queue.skip(1)
        queue.publish(2)
        #expect(isDirty(0x30))
    }

    // MARK: Serving

    @Test func brokenRingStopsOnlyItsQueue() throws {
        let driver = try makeDriver()
        let transport = RecordingTransport()
        let activation = VirtioActivation(
            memory: driver.memory, features: 0, queues: [driver.resources(index: 2)], transport: transport)
        let absent = try ServedQueue(activation, 0) == nil
        #expect(absent)
        guard var queue = try ServedQueue(activation, 2) else { throw FakeDriverError(description: "no queue") }
        try driver.send([.writable(Place.buffers, 1)])
        try driver.offer(77)
        try driver.send([.writable(Place.buffers, 1)])
        var served = 0
        for _ in 0..<3 {
            queue.serve { _ in
                served += 1
                return 1
            }
        }
        #expect(served == 1)
        let broken = queue.isBroken
        #expect(broken)
        #expect(try driver.usedIndex == 1)
        #expect(driver.interrupt.count == 1)
        #expect(
            transport.reasons == [
                "queue 2: the guest's driver broke a rule of virtio: descriptor 77 is beyond the table's 8 entries"
            ])
    }

    @Test func chainsLeftForLaterComeAgain() throws {
        let driver = try makeDriver()
        var queue = try makeQueue(driver)
        let first = try driver.send([.writable(Place.buffers, 1)])
        try driver.send([.writable(Place.buffers, 1)])
        var heads: [UInt16] = []
        try queue.serve(driver.interrupt) { chain in
            heads.append(chain.head)
            return nil
        }
        try queue.serve(driver.interrupt) { chain in
            heads.append(chain.head)
            return 1
        }
        #expect(heads == [first, first, first + 1])
        #expect(driver.interrupt.count == 2)
        #expect(try driver.usedFlags == 0)
    }
}
