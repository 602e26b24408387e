import Host
import Memory
import Testing

@testable import Migration

/// What goes over in a round.
struct RoundTests {
    /// Pages of zeroes need not go in the first round, but a destination that hears nothing for long takes its source for
    /// dead: where there is nothing else to say, they go now and then.
    @Test(arguments: [0, 60_000]) func aSourceThatFindsNothingIsHeard(_ breath: Int) throws {
        let source = try FakeSource(Ledger(), isEmpty: true)
        let (here, there) = try StreamConnection.pair()
        let (channel, other) = (try FrameChannel(here), try FrameChannel(there))
        var options = SenderOptions(.unix("/none"))
        options.patience.breath = breath
        let progress = MigrationProgress(.init(.source, token: "", peer: "", state: "copying"))
        let sender = RoundSender(source, [channel], options, progress, try MigrationStop())
        let sent = try sender.send(
            round: 1, RoundSender.everything(source.regions), isFirst: true, isLimited: false, heeding: false)
        #expect(progress.now.pages == 0 && progress.now.zeroPages == 1044)
        #expect((sent > 0) == (breath == 0) && other.hasInput == (breath == 0))
        guard breath == 0 else { return }
        var zero = 0
        while other.hasInput {
            let frame = try other.receive(within: 10_000)
            let head = PagesHead(frame.payload)
            #expect(frame.kind == .pages && frame.pageBytes == 0 && head.present.isEmpty && head.round == 1)
            zero += head.zero.pageCount
        }
        #expect(zero == 1044)
    }
}
