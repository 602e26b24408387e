import Host

extension NetworkInterface {
    /// Whether the interface goes soon. Its last queue may be open a moment longer than here: a program that another test
    /// starts has every descriptor of this process until it is loaded.
    package static func goes(_ name: String) -> Bool { Deadline.seconds(5).wait { !exists(name) } }
}
