import Host

/// The descriptor of a guest's memory, as it came from a peer on the same host.
package struct ReceivedMemory: ~Copyable, Sendable {
    package let file: FileDescriptor

    package init(_ file: consuming FileDescriptor) { self.file = file }
}
