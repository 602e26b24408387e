/// The known name that a person most likely meant, if one is near enough.
func nearestName(to name: String, among known: [String]) -> String? {
    let limit = max(1, min(3, name.utf8.count / 3))
    // A name much longer than every known one is no slip of the finger, and would make the distance expensive.
    if name.utf8.count > 64 { return nil }
    var best: (distance: Int, name: String)?
    for candidate in known {
        let distance = editDistance(Array(name.lowercased().utf8), Array(candidate.lowercased().utf8))
        if distance <= limit, distance < best?.distance ?? Int.max { best = (distance, candidate) }
    }
    return best?.name
}

/// How many single-letter changes and swaps of neighbours lead from one word to the other.
private func editDistance(_ from: [UInt8], _ to: [UInt8]) -> Int {
    var beforePrevious: [Int] = []
    var previous = Array(0...to.count)
    for i in from.indices {
        var current = [i + 1]
        for j in to.indices {
            var best = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (from[i] == to[j] ? 0 : 1))
            if i > 0, j > 0, from[i] == to[j - 1], from[i - 1] == to[j] {
                best = min(best, beforePrevious[j - 1] + 1)
            }
            current.append(best)
        }
        beforePrevious = previous
        previous = current
    }
    return previous[to.count]
}
