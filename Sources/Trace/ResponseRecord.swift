import Provenance

/// Reads the headers of a response from JSON, as browsers and their HAR files record them.
package enum ResponseRecord {
    /// The facts in `{"headers":[{"name":…,"value":…}]}`, in an entry with such a `response`, or in the list alone;
    /// nil when the bytes are nothing of the kind.
    package static func facts(of bytes: Span<UInt8>) -> HeaderFacts? {
        guard bytes.count > 0, bytes[0] == UInt8(ascii: "{") || bytes[0] == UInt8(ascii: "[") else { return nil }
        guard let value = try? JSONParser.parse(bytes), let list = headers(in: value) else { return nil }
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
