import Admin
import Enrichment
import Exchanges
import Provenance
import Proxy
import Runtime
import Telemetry

/// What `/metrics` says. `docs/metrics.md` lists it all, and a test compares the two.
extension StatusReport {
    func metrics() -> [UInt8] {
        // Before anything of it is written, which takes long enough for hundreds of requests: what stands on one page is to be of one moment.
        let counted = Counted(
            variants: proxy.variants.indices.map(fleet.ofVariant), overhead: fleet.overhead, totals: fleet.totals)
        var page = MetricsPage()
        addProcess(&page)
        addProxy(counted.totals, &page)
        addAnswers(counted, &page)
        addUpstreams(counted.totals, &page)
        addManifests(&page)
        if let lines { addLines(lines.pipeline.status.figures, &page) }
        if let exchanges {
            let figures = exchanges.figures
            page.begin("colophon_exchange_records", .counter, "Records of exchanges, by what became of them.")
            page.add(figures.written, [("result", "kept")])
            page.add(figures.dropped, [("result", "dropped")])
            page.add(counted.totals[.droppedRecords], [("result", "no_room")])
            page.add(figures.failed, [("result", "failed")])
        }
        addAdmin(&page)
        return page.finish()
    }

    private func addProcess(_ page: inout MetricsPage) {
        let process = ProcessFigures()
        page.begin("colophon_build", .info, "Which version of the program runs.")
        page.add(info: [("version", Version.current)])
        page.begin("colophon_start_time_seconds", .gauge, "When it was started, since 1970.", unit: "seconds")
        page.add(microseconds: started.microseconds)
        page.begin("process_cpu_seconds", .counter, "Processor time of all threads.", unit: "seconds")
        page.add(microseconds: process.processorTime)
        page.begin("process_resident_memory_bytes", .gauge, "Memory that is in use.", unit: "bytes")
        page.add(process.residentBytes)
        page.begin("process_open_fds", .gauge, "Files and connections that are open.")
        page.add(process.openDescriptors)
        page.begin("process_max_fds", .gauge, "How many the system allows.")
        page.add(process.allowedDescriptors)
        page.begin("process_threads", .gauge, "Threads that run.")
        page.add(process.threads)
    }

    /// What the workers have counted.
    private struct Counted {
        let variants: [WorkerCounters.OfVariant]
        let overhead: Durations
        let totals: WorkerFleet.Totals
    }

    private func addProxy(_ totals: WorkerFleet.Totals, _ page: inout MetricsPage) {
        func counter(_ name: String, _ counter: WorkerCounters.Counter, _ help: String) {
            page.begin(name, .counter, help)
            page.add(totals[counter])
        }
        page.begin("colophon_draining", .gauge, "1 while it ends.")
        page.add(fleet.isDraining ? 1 : 0)
        counter("colophon_connections_accepted", .accepted, "Client connections that were accepted.")
        page.begin("colophon_connections", .gauge, "Connections that are open, by who is at the other end.")
        page.add(totals.clients, [("side", "client")])
        page.add(totals.upstreams, [("side", "upstream")])
        counter(
            "colophon_connections_shed", .shed,
            "Connections over limits.connections: answered with 503, or closed at once when there are very many.")
        counter(
            "colophon_accept_failures", .acceptFailures, "Connections that could not be taken for want of descriptors.")
        counter("colophon_requests", .requests, "Requests whose head was read and admitted.")
        page.begin("colophon_requests_in_flight", .gauge, "Exchanges that have begun and not ended.")
        page.add(totals.inFlight)
        page.begin("colophon_faults", .counter, "Responses that the sidecar made itself, by why.")
        for fault in Fault.Kind.allCases { page.add(totals.count(of: fault), [("fault", fault.name)]) }
        page.begin(
            "colophon_exchanges_aborted", .counter, "Exchanges that were cut before the end of the response, by whom.")
        page.add(totals[.abortedByClient], [("by", "client")])
        page.add(totals[.abortedByUpstream], [("by", "upstream")])
        counter("colophon_timeouts", .timeouts, "Deadlines that passed, but for those of idle connections.")
        counter("colophon_upgrades", .upgrades, "Connections that switched protocols.")
        counter("colophon_access_log_lines_lost", .lostLogLines, "Lines of the access log that could not be written.")
    }

    private func addAnswers(_ counted: Counted, _ page: inout MetricsPage) {
        let variants = zip(proxy.variants, counted.variants).map { (name: $0.name, figures: $1) }
        page.begin("colophon_responses", .counter, "Responses of model servers, by variant and class of status.")
        for variant in variants {
            for (index, count) in variant.figures.statuses.enumerated() {
                page.add(count, [("variant", variant.name), ("status", "\(index + 1)xx")])
            }
        }
        page.begin(
            "colophon_stamps", .counter, "Responses of model servers, by variant and how surely they are stamped.")
        for variant in variants {
            for attribution in Attribution.allCases {
                page.add(
                    variant.figures.claims[attribution.strength],
                    [("variant", variant.name), ("attribution", attribution.rawValue)])
            }
        }
        page.begin(
            "colophon_unknown_names", .counter, "Responses that named a manifest or variant that is not known.")
        page.add(counted.totals[.unknownNames])
        page.begin(
            "colophon_overhead_seconds", .histogram,
            "What the proxy itself took of an exchange: until the request was passed on, and again the head of the response.",
            unit: "seconds")
        page.add(bounds: Durations.bounds, counts: counted.overhead.counts, sum: counted.overhead.sum)
        page.begin(
            "colophon_upstream_seconds", .histogram,
            "From when the last of the request was passed on until the head of the response came.", unit: "seconds")
        for variant in variants {
            page.add(
                bounds: Durations.bounds, counts: variant.figures.upstream.counts, sum: variant.figures.upstream.sum,
                [("variant", variant.name)])
        }
    }

    private func addUpstreams(_ totals: WorkerFleet.Totals, _ page: inout MetricsPage) {
        page.begin("colophon_upstream_up", .gauge, "1 where the upstream was reached when it was last tried, else 0.")
        for (index, upstream) in proxy.upstreams.enumerated() {
            let state = fleet.state(ofUpstream: index)
            // Nobody has tried yet: that is neither.
            guard state != .untried else { continue }
            page.add(
                state == .reached ? 1 : 0,
                [("upstream", upstream.name), ("address", upstream.addresses[0].text)])
        }
        for (name, counter, help) in [
            ("colophon_upstream_connections_opened", .upstreamConnections, "Connections that upstreams accepted."),
            ("colophon_upstream_connect_failures", .connectFailures, "Connections that upstreams did not accept."),
            ("colophon_upstream_retries", .retries, "Requests that were sent again on a fresh connection."),
            ("colophon_upstream_surplus", .surplus, "Responses that were longer than they had declared."),
        ] as [(String, WorkerCounters.Counter, String)] {
            page.begin(name, .counter, help)
            page.add(totals[counter])
        }
    }

    private func addManifests(_ page: inout MetricsPage) {
        let states = loader.states
        page.begin("colophon_manifest", .info, "The manifest that is active for each variant.")
        for state in states {
            guard let manifest = state.manifest else { continue }
            page.add(info: [
                ("variant", state.variant), ("model_version", manifest.version),
                ("manifest_sha256", manifest.digest.hex),
            ])
        }
        page.begin(
            "colophon_manifest_current", .gauge,
            "1 where the active manifest is known to be what the server should speak with, else 0.")
        for state in states where state.manifest != nil || !settings.manifestOptional || !loader.hasLooked {
            page.add(state.manifest != nil && state.isCurrent ? 1 : 0, [("variant", state.variant)])
        }
        page.begin(
            "colophon_manifest_overridden", .gauge,
            "1 where the API has activated another manifest than the pointer names, which is not followed, else 0.")
        for state in states { page.add(state.overridden == nil ? 0 : 1, [("variant", state.variant)]) }
        page.begin(
            "colophon_activation_orders_waiting", .gauge,
            "Activations that the API was asked for, and that wait; not the one that is being carried out.")
        page.add(UInt64(loader.waitingOrders))
        page.begin(
            "colophon_manifest_fields_left_out", .gauge,
            "Fields of the active manifest that are in no stamp, for they take more than 256 bytes.")
        for state in states {
            if let stamp = state.stamp { page.add(UInt64(stamp.leftOut.count), [("variant", state.variant)]) }
        }
        page.begin(
            "colophon_manifest_active_since_seconds", .gauge, "When it became active, since 1970.", unit: "seconds")
        for state in states {
            if let since = state.activeSince {
                page.add(microseconds: since.microseconds, [("variant", state.variant)])
            }
        }
        page.begin("colophon_activations", .counter, "Manifests that became active, by what caused it.")
        let causes = loader.activationsByCause
        for cause in ActivationLoader.Cause.allCases { page.add(causes[cause] ?? 0, [("cause", cause.rawValue)]) }
        page.begin("colophon_manifest_reloads", .counter, "Attempts to load what a pointer names, by their result.")
        page.add(loader.activationCount, [("result", "activated")])
        page.add(loader.confirmations, [("result", "unchanged")])
        page.add(loader.failureCount, [("result", "failed")])
        page.begin(
            "colophon_configuration_reloads", .counter, "Attempts to load the configuration anew, by their result.")
        page.add(reloader.successes, [("result", "loaded")])
        page.add(reloader.failures, [("result", "refused")])
        page.begin(
            "colophon_configuration_keys_pending", .gauge, "Keys that differ from what is in use until the next start.")
        page.add(reloader.needRestart.count)
    }

    private func addAdmin(_ page: inout MetricsPage) {
        page.begin("colophon_admin_responses", .counter, "Answers of the admin listener, by status.")
        for answer in adminCounters.answers { page.add(answer.count, [("status", "\(answer.status)")]) }
        page.begin("colophon_admin_connections_closed", .counter, "Connections that were closed unanswered, by why.")
        page.add(adminCounters.crowdedOut, [("reason", "crowded_out")])
        page.add(adminCounters.timeouts, [("reason", "timeout")])
    }
}
