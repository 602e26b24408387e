import Host
import Testing

@Suite struct CalendarTests {
    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00Z", 5), (951_782_399, "2000-02-28T23:59:59Z", 2),
            (951_782_400, "2000-02-29T00:00:00Z", 3), (951_868_799, "2000-02-29T23:59:59Z", 3),
            (4_107_542_400, "2100-03-01T00:00:00Z", 2), (1_700_000_000, "2023-11-14T22:13:20Z", 3),
            (1_735_689_599, "2024-12-31T23:59:59Z", 3), (-1, "1969-12-31T23:59:59Z", 4),
            (-86_400, "1969-12-31T00:00:00Z", 4), (253_402_300_799, "9999-12-31T23:59:59Z", 6),
            (-62_135_596_800, "0001-01-01T00:00:00Z", 2),
        ] as [(Int64, String, Int)])
    func timesAreRight(seconds: Int64, expected: String, weekday: Int) {
        let time = CalendarTime(secondsSince1970: seconds)
        #expect(time.text == expected && time.weekday == weekday)
    }
}
