import Enrichment
import Proxy
import Runtime
import Telemetry

/// The metrics of lines: there where something is done with them.
extension StatusReport {
    func addLines(_ figures: LineStatus.Figures, _ page: inout MetricsPage) {
        let counters = figures.counters
        page.begin("colophon_lines", .counter, "Lines that came in, by what was done with them.")
        for (outcome, count) in [
            ("enriched", counters.enriched), ("kept", counters.kept), ("forwarded", counters.forwarded),
            ("dropped", counters.dropped), ("unreadable", counters.unreadable), ("overlong", counters.overlong),
        ] { page.add(count, [("outcome", outcome)]) }
        page.begin("colophon_line_bytes", .counter, "Bytes of the lines that came in.", unit: "bytes")
        page.add(counters.bytes)
        page.begin("colophon_lines_attributed", .counter, "Lines that matched, by how surely their manifest is known.")
        for (word, count) in [
            ("unknown", counters.unknown), ("mixed", counters.mixed), ("inferred", counters.inferred),
            ("exact", counters.exact),
        ] { page.add(count, [("attribution", word)]) }
        page.begin("colophon_lines_unknown", .counter, "Lines that matched and are unknown, by why.")
        for reason in UnknownReason.allCases { page.add(counters.unknownBy[reason], [("reason", reason.name)]) }
        addDelivery(figures, &page)
        addLag(figures, &page)
        addLosses(figures, &page)
        addClient(figures, &page)
        addSources(figures, &page)
    }

    private func addDelivery(_ figures: LineStatus.Figures, _ page: inout MetricsPage) {
        page.begin("colophon_lines_delivered", .counter, "Lines that have arrived.")
        page.add(figures.delivered)
        page.begin("colophon_lines_resent", .counter, "Lines that were sent again after a failure.")
        page.add(figures.resent)
        page.begin("colophon_dead_letters", .counter, "Lines that can never be delivered, written to the dead letters.")
        page.add(figures.dead)
        page.begin("colophon_lines_in_flight", .gauge, "Lines that were sent and not acknowledged yet.")
        page.add(figures.onTheirWay)
        page.begin("colophon_delivery_up", .gauge, "1 while nothing keeps lines from arriving, else 0.")
        page.add(figures.problem == nil && figures.deadLetterProblem == nil ? 1 : 0)
        page.begin(
            "colophon_spool_full", .gauge, "1 while there is no room for lines: those of the proxy are lost, else 0.")
        page.add(figures.isSpoolFull ? 1 : 0)
        page.begin("colophon_delivery_errors", .counter, "What brokers and client complained of, by the error's name.")
        for error in figures.deliveryErrors { page.add(error.count, [("code", error.name)]) }
        page.begin("colophon_ledger_failures", .counter, "Times that the ledger could not be asked about a line.")
        page.add(figures.ledgerFailures)
        page.begin(
            "colophon_lines_outside_window", .counter, "Lines whose own time lies outside kafka.timestamp_window.")
        page.add(figures.outsideWindow)
    }

    /// How far delivery is behind.
    private func addLag(_ figures: LineStatus.Figures, _ page: inout MetricsPage) {
        page.begin("colophon_lag_lines", .gauge, "Lines that were taken in and have not arrived.")
        page.add(max(0, figures.waiting))
        page.begin(
            "colophon_lag_bytes", .gauge, "Bytes that wait: in the spool, and in files as far as they were not read.",
            unit: "bytes")
        page.add(figures.spoolWaitingBytes + sum("behind_bytes", figures))
        page.begin(
            "colophon_lag_seconds", .gauge, "For how long the oldest line waits that has not arrived.", unit: "seconds")
        page.add(microseconds: figures.waitingSince.map { max(0, Clock.monotonic() - $0) } ?? 0)
        page.begin(
            "colophon_spool_bytes", .gauge, "What the spool takes on the disk, with what it keeps to write over.",
            unit: "bytes")
        page.add(figures.spoolBytes)
        page.begin("colophon_spool_limit_bytes", .gauge, "What it may take: spool.bytes.", unit: "bytes")
        page.add(figures.spoolLimit)
        page.begin("colophon_spool_failures", .counter, "Writes to the spool that failed; they are tried again.")
        page.add(figures.spoolFailures)
    }

    /// Every way in which a line can go missing, and each of them told.
    private func addLosses(_ figures: LineStatus.Figures, _ page: inout MetricsPage) {
        page.begin("colophon_lines_lost", .counter, "Lines that are gone and were not meant to be, by why.")
        page.add(fleet.totals[.shedLines], [("reason", "no_room_for_exchange")])
        page.add(fleet.totals[.longPaths], [("reason", "path_too_long")])
        page.add(sum("shed_datagrams", figures), [("reason", "no_room_for_datagram")])
        page.add(sum("overlong_datagrams", figures), [("reason", "overlong_datagram")])
        page.add(figures.lostRecords, [("reason", "spool_damaged")])
        page.add(sum("records_lost_deleted", figures), [("reason", "deleted_by_broker")])
        page.begin(
            "colophon_bytes_lost", .counter, "Bytes that are gone before they were lines, by why.", unit: "")
        page.add(sum("bytes_lost_truncated", figures), [("reason", "truncated")])
        page.add(sum("bytes_lost_removed", figures), [("reason", "removed")])
        page.add(sum("bytes_lost_damaged", figures), [("reason", "handover_damaged")])
    }

    private func addClient(_ figures: LineStatus.Figures, _ page: inout MetricsPage) {
        let client = figures.client ?? ClientFigures()
        page.begin("colophon_kafka_brokers", .gauge, "Brokers that are known, and those that are connected.")
        page.add(client.brokers, [("state", "known")])
        page.add(client.brokersUp, [("state", "up")])
        page.begin("colophon_kafka_queued", .gauge, "Records that the client holds.")
        page.add(client.queued)
        page.begin("colophon_kafka_queued_bytes", .gauge, "Bytes of the records that the client holds.", unit: "bytes")
        page.add(client.queuedBytes)
        page.begin("colophon_kafka_request_retries", .gauge, "Requests to brokers that the client tried again.")
        page.add(client.retries)
        page.begin(
            "colophon_kafka_round_trip_seconds", .gauge, "The slowest broker's average round trip.", unit: "seconds")
        page.add(microseconds: Int64(client.roundTrip))
    }

    private func addSources(_ figures: LineStatus.Figures, _ page: inout MetricsPage) {
        page.begin("colophon_exchange_lines", .counter, "Lines that were made of exchanges.")
        page.add(fleet.totals[.lines])
        page.begin("colophon_files_followed", .gauge, "Files that are followed.")
        page.add(sum("followed", figures))
        page.begin("colophon_file_rotations", .counter, "Files that were moved away and begun anew.")
        page.add(sum("rotations", figures))
        page.begin("colophon_file_truncations", .counter, "Files that were cut while they were followed.")
        page.add(sum("truncations", figures))
        page.begin(
            "colophon_file_problems", .counter,
            "What kept a file, or a part of it, from being followed as it should be.")
        for reason in FileProblem.allCases { page.add(sum(reason.figure, figures), [("reason", reason.rawValue)]) }
        page.begin("colophon_checkpoint_failures", .counter, "Positions that could not be written.")
        page.add(sum("checkpoint_failures", figures))
        page.begin("colophon_posted_bodies_refused", .counter, "Bodies of POST /v1/logs for which there was no room.")
        page.add(sum("refused_bodies", figures))
        page.begin("colophon_socket_connections", .gauge, "Connections to sockets that lines come in on.")
        page.add(sum("connections", figures))
        page.begin(
            "colophon_socket_connections_refused", .counter, "Connections beyond the 256 that are read at once.")
        page.add(sum("refused_connections", figures))
        page.begin("colophon_source_records", .counter, "Records that were read of another topic.")
        page.add(sum("records", figures))
        page.begin("colophon_source_partitions", .gauge, "Partitions of that topic that are read here.")
        page.add(sum("partitions", figures))
        page.begin("colophon_source_behind_records", .gauge, "Records of them that wait to be read.")
        page.add(sum("behind_records", figures))
    }

    private func sum(_ name: String, _ figures: LineStatus.Figures) -> Int {
        figures.sources.reduce(0) { sum, source in
            sum + source.figures.reduce(0) { $0 + ($1.name == name ? $1.value : 0) }
        }
    }
}
