import TestSupport
import Testing

@testable import Enrichment

/// What librdkafka tells of itself.
@Suite("Figures of the client")
struct ClientFiguresTests {
    @Test("real statistics are read, and what is none of a broker's is left out")
    func reads() {
        let text = """
            {"name":"colophon#producer-1","msg_cnt":3,"msg_size":900,"txmsgs":120,"txmsg_bytes":36000,"brokers":{
            "127.0.0.1:9092/bootstrap":{"nodeid":-1,"state":"DOWN","txerrs":7},
            "GroupCoordinator":{"nodeid":-1,"state":"INIT"},
            "127.0.0.1:9092/1":{"nodeid":1,"state":"UP","txerrs":2,"txretries":1,"rtt":{"min":90,"avg":1200,"max":3000}},
            "127.0.0.1:9093/2":{"nodeid":2,"state":"CONNECT","txerrs":1,"rtt":{"avg":0}}}}
            """
        var wanted = ClientFigures()
        (wanted.queued, wanted.queuedBytes, wanted.sent, wanted.sentBytes) = (3, 900, 120, 36000)
        (wanted.retries, wanted.errors, wanted.brokersUp, wanted.brokers, wanted.roundTrip) = (1, 3, 1, 2, 1200)
        #expect(ClientFigures(text) == wanted)
        var quiet = wanted
        quiet.roundTrip = 0
        #expect(quiet.after(wanted) == wanted)
        #expect(quiet.after(nil) == quiet)
    }

    @Test("what is no such document is none", arguments: ["", "[]", "{", "null"])
    func refuses(text: String) { #expect(ClientFigures(text) == nil) }
}
