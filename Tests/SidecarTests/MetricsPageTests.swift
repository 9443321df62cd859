import Telemetry
import Testing

@Suite("Metrics")
struct MetricsPageTests {
    private func text(_ body: (inout MetricsPage) -> Void) -> String {
        var page = MetricsPage()
        body(&page)
        return String(decoding: page.finish(), as: UTF8.self)
    }

    @Test("each kind has its suffix, and the page its end")
    func writesKinds() {
        let page = text { page in
            page.begin("a", .counter, "How many.")
            page.add(3, [("x", "1")])
            page.begin("b_bytes", .gauge, "How large.", unit: "bytes")
            page.add(-4)
            page.begin("c", .info, "What.")
            page.add(info: [("version", "1")])
        }
        #expect(
            page == """
                # TYPE a counter
                # HELP a How many.
                a_total{x="1"} 3
                # TYPE b_bytes gauge
                # UNIT b_bytes bytes
                # HELP b_bytes How large.
                b_bytes -4
                # TYPE c info
                # HELP c What.
                c_info{version="1"} 1
                # EOF

                """)
    }

    @Test("buckets hold all that is at most their end")
    func accumulatesBuckets() {
        let page = text { page in
            page.begin("d_seconds", .histogram, "How long.", unit: "seconds")
            page.add(bounds: [10, 1_500_000], counts: [2, 0, 5], sum: 3_000_001, [("v", "x")])
        }
        let samples = page.split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            samples == [
                "d_seconds_bucket{v=\"x\",le=\"0.00001\"} 2", "d_seconds_bucket{v=\"x\",le=\"1.5\"} 2",
                "d_seconds_bucket{v=\"x\",le=\"+Inf\"} 7", "d_seconds_count{v=\"x\"} 7",
                "d_seconds_sum{v=\"x\"} 3.000001",
            ])
    }

    @Test("what a value would break out of is escaped")
    func escapes() {
        let page = text { page in
            page.begin("e", .gauge, "A \\ and\na \" here.")
            page.add(1, [("x", "a\"b\\c\nd")])
        }
        #expect(page.contains("# HELP e A \\\\ and\\na \" here.\n"))
        #expect(page.contains("e{x=\"a\\\"b\\\\c\\nd\"} 1\n"))
    }
}
