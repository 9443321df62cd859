import Provenance

/// Reads the headers of responses from JSON, as browsers and their HAR files record them.
package enum ResponseRecord {
    /// The facts of each response in `{"headers":[{"name":…,"value":…}]}`, in an entry with such a `response`, in the list
    /// alone, or in a whole HAR file; none when the bytes are nothing of the kind.
    package static func facts(of bytes: Span<UInt8>) -> [HeaderFacts] {
        guard let value = try? JSONParser.parse(bytes) else { return [] }
        if let entries = value.object?["log"]?.object?["entries"]?.array {
            return entries.compactMap { headers(in: $0).map(facts) }
        }
        return headers(in: value).map { [facts($0)] } ?? []
    }

    private static func facts(_ list: [JSON]) -> HeaderFacts {
        var facts = HeaderFacts()
        for item in list {
            guard let header = item.object, let name = header["name"]?.string, let value = header["value"]?.string
            else {
                continue
            }
            facts.take(name: name, value: value)
        }
        return facts
    }

    private static func headers(in value: JSON) -> [JSON]? {
        switch value {
        case .array(let items): items.first?.object?["name"]?.string == nil ? nil : items
        case .object(let object): object["response"].flatMap(headers) ?? object["headers"].flatMap(headers)
        default: nil
        }
    }
}
