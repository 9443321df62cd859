import Crypto
import Provenance

/// Manifests that are made up: each number has its own, always the same.
package enum Specimen {
    package static func manifest(_ number: Int, commit: String? = nil, data: String = "kafka-20250301")
        throws(ManifestError) -> Manifest
    {
        func hash(_ text: String) -> String { SHA256.hash(Array(text.utf8)).hex }
        let text = """
            {"model_family":"als","model_version":"als-\(number)","trained_at":"2025-03-04T18:12:55.\(100_000 + number % 900_000)Z",
             "pipeline":{"git_commit":"\(commit ?? String(hash("c\(number)").prefix(40)))","git_branch":"main"},
             "data":{"dataset_path":"data/interactions.csv","dataset_version":\(JSONWriter.compact.text(.string(data))),"dataset_sha256":"\(hash(data))"},
             "artifacts":{"als_model":{"path":"m\(number).npz","sha256":"\(hash("m\(number)"))","size_bytes":\(number)},
                          "shared_map":{"path":"map.json","sha256":"\(hash("shared"))"}}}
            """
        return try Manifest.parse(Array(text.utf8), hashing: SHA256.hash)
    }
}
