import Provenance

/// Rows that a Python script of ours prints, one JSON object a line.
package enum Oracle {
    package static func rows(_ script: String, _ arguments: String...) -> [JSONObject] {
        let result = Program.run(["python3", Program.root + "/Tests/Support/" + script] + arguments)
        precondition(result.status == 0, "\(script) failed: \(result.errors)")
        return result.output.split(separator: "\n").map { line in
            guard let row = try? JSONParser.parse(String(line)).object else {
                preconditionFailure("\(script) printed what is no JSON object: \(line)")
            }
            return row
        }
    }
}

extension JSONObject {
    package func text(_ name: String) -> String { self[name]?.string ?? "" }

    /// Bytes that are written in hexadecimal.
    package func bytes(_ name: String) -> [UInt8] {
        let digits = Array(text(name).utf8)
        return stride(from: 0, to: digits.count, by: 2).map { index in
            UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) ?? 0
        }
    }

    package func flag(_ name: String) -> Bool { if case .bool(true) = self[name] { true } else { false } }
}
