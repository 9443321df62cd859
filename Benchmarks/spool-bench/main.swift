import Enrichment
import Glibc
import Provenance
import Runtime

/// How fast the spool takes records and comes back after a kill: `spool-bench DIRECTORY MEBIBYTES`; or how long a sync takes into a new
/// file, and into one that is written over: `spool-bench DIRECTORY syncs`. Figures as JSON. The directory must not be there.
let arguments = CommandLine.arguments
guard arguments.count == 3, let mebibytes = arguments[2] == "syncs" ? 64 : Int(arguments[2]) else {
    print("usage: spool-bench DIRECTORY MEBIBYTES|syncs")
    exit(2)
}
let target = mebibytes << 20

let definitions = Definitions()

@MainActor func open() throws -> Spool<SpoolDirectory> {
    var settings = SpoolSettings()
    settings.bytes = 2 * target
    return try Spool.open(SpoolDirectory(arguments[1]), settings, definitions) { () throws(SystemError) in
        try Instance.newULID()
    }
}

func seconds(_ body: () throws -> Void) rethrows -> Double {
    let began = Clock.monotonic()
    try body()
    return Double(Clock.monotonic() - began) / 1_000_000
}

let line = Array(
    ("2025-03-04T18:21:03.219384Z,39157,recommendation request /recommend/39157, status 200, variant=als_model, "
        + "bucket=0.392104, result: the+lord+of+the+rings+2001,amelie+2001,se7en+1995,wall-e+2008,m+1931, 42 ms, model_version=als-20250304, "
        + "pipeline_commit=80d8e56, pipeline_branch=main, data_version=kafka-20250301, manifest_sha256="
        + String(repeating: "5caa2655", count: 8)).utf8)
let size = LineRecord.size(ofValue: line.count)
let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
let record = LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
record.fill(.line, valueCount: line.count, attribution: .inferred, key: 28..<33)
UnsafeMutableRawBufferPointer(rebasing: memory[LineRecord.headerSize...]).copyBytes(from: line)

var spool = try open()
record.source = definitions.source(Array("stdin/bench".utf8))
if arguments[2] == "syncs" {
    /// Microseconds for each of so many syncs of some 16 KiB.
    @MainActor func syncing(_ count: Int) -> Double {
        seconds {
            for _ in 0..<count {
                for _ in 0..<(16 << 10) / size { spool.append(record) }
                spool.sync()
            }
        } * 1_000_000 / Double(count)
    }
    let new = syncing(600)
    spool.read { _ in true }
    spool.acknowledge(spool.readPosition)
    // Less than there was, so that all of it is written over.
    let over = syncing(500)
    print("{\"new_us\": \(new), \"over_us\": \(over)}")
    exit(0)
}
var bytes = 0
var syncs = 0
let appending = seconds {
    var nextSync = Clock.monotonic() + 50_000
    while bytes < target {
        // As the pipeline does: some lines, then the file, and the disk when it is time.
        for _ in 0..<100 where spool.hasRoom(for: line.count) {
            spool.append(record)
            bytes += size
        }
        spool.write()
        if spool.mustSync || Clock.monotonic() >= nextSync {
            spool.sync()
            syncs += 1
            nextSync = Clock.monotonic() + 50_000
        }
    }
    spool.sync()
}
// Not closed: as after a kill.
var lines: Int64 = 0
let recovering = try seconds {
    let again = try open()
    lines = again.unread
}
guard Int(lines) * size == bytes else {
    print("of \(bytes / size) records \(lines) came back")
    exit(1)
}
print(
    "{\"append_mb_per_second\": \(Double(bytes) / appending / 1e6), \"syncs\": \(syncs), "
        + "\"recovery_seconds\": \(recovering)}")
