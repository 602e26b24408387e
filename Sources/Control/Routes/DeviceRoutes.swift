extension Route {
    /// Devices that come and go.
    static let devices: [Route] = []
}
