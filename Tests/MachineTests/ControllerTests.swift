import Synchronization
import Testing

@testable import Machine

/// Commands that reach a VM whose process is ending.
struct ControllerTests {
    private final class Replies: Sendable {
        let all = Mutex<[Result<VMReply, VMError>]>([])
        var words: [String] {
            all.withLock { $0.map { if case .failure(let error) = $0 { "\(error)" } else { "done" } } }
        }
    }

    @Test func eachIsAnswered() throws {
        let controller = try VMController()
        let replies = Replies()
        let note: VMReplyHandler = { reply in replies.all.withLock { $0.append(reply) } }
        controller.send(.pause, reply: note)
        controller.send(.quit, reply: note)
        #expect(replies.words.isEmpty)
        controller.close([.command(.reboot, note), .quit])
        #expect(replies.words == ["the VMM is ending", "the VMM is ending", "done"])
        controller.send(.resume, reply: note)
        #expect(replies.words.last == "the VMM is ending" && replies.words.count == 4)
    }
}
