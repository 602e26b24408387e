extension Route {
    /// What can be watched.
    static let observation: [Route] = []
}
