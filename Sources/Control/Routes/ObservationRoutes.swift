extension Route {
    /// What can be watched.
    static let observation: [Route] = [
        .get("vm.events") { EventStream.reply($0.events) }
    ]
}
