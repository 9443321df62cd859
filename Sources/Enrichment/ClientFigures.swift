import Provenance

/// What librdkafka tells of itself from time to time, as far as it helps to find out why lines wait.
package struct ClientFigures: Sendable, Equatable {
    /// Records that the client holds, and their bytes.
    package var queued = 0
    package var queuedBytes = 0
    /// What the brokers have taken since the client began.
    package var sent = 0
    package var sentBytes = 0
    /// Requests to brokers that were tried again, and that failed.
    package var retries = 0
    package var errors = 0
    package var brokersUp = 0
    package var brokers = 0
    /// The longest of the brokers' average round trips, in microseconds.
    package var roundTrip = 0

    package init() {}

    /// Reads the statistics that `statistics.interval.ms` asks for; nil when it is no such document.
    package init?(_ text: String) {
        guard let document = (try? JSONParser.parse(Array(text.utf8)))?.object else { return nil }
        func number(_ object: JSONObject, _ name: String) -> Int {
            guard case .number(let spelling) = object[name] else { return 0 }
            return Int(spelling) ?? 0
        }
        queued = number(document, "msg_cnt")
        queuedBytes = number(document, "msg_size")
        sent = number(document, "txmsgs")
        sentBytes = number(document, "txmsg_bytes")
        for member in document["brokers"]?.object?.members ?? [] {
            // Those that were only named at the start, and logical ones, are connections and no brokers.
            guard let broker = member.value.object, number(broker, "nodeid") >= 0 else { continue }
            brokers += 1
            if broker["state"]?.string == "UP" { brokersUp += 1 }
            retries += number(broker, "txretries")
            errors += number(broker, "txerrs")
            if let rtt = broker["rtt"]?.object { roundTrip = max(roundTrip, number(rtt, "avg")) }
        }
    }

    /// Where nothing was sent meanwhile, the last round trip is still what is known.
    func after(_ earlier: ClientFigures?) -> ClientFigures {
        var figures = self
        if roundTrip == 0 { figures.roundTrip = earlier?.roundTrip ?? 0 }
        return figures
    }

    var named: [(name: String, value: Int)] {
        [
            ("queued", queued), ("queued_bytes", queuedBytes), ("sent", sent), ("sent_bytes", sentBytes),
            ("request_retries", retries), ("request_errors", errors), ("brokers", brokers), ("brokers_up", brokersUp),
            ("round_trip_us", roundTrip),
        ]
    }
}
