// The tests of SwiftletClient.
