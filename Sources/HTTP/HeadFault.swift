/// Why a head or a body cannot be passed on. What is ambiguous is refused: two readers must never see two messages.
package enum HeadFault: UInt8, Error, Sendable, CaseIterable {
    case bareLineFeed
    case requestLine
    case method
    case connectMethod
    case target
    case version
    case statusLine
    case fieldName
    case fieldValue
    case foldedField
    case missingHost
    case repeatedHost
    case invalidHost
    case contentLength
    case differingContentLengths
    case transferEncoding
    case chunkedNotLast
    case unknownCoding
    case codingInHTTP10
    case connectionOptions
    case codingAndLength
    case tooManyFields
    case headTooLarge
    case chunkSize
    case chunkExtension
    case chunkData
    case trailer

    /// What a client that sent it is answered.
    package var status: Int {
        switch self {
        case .tooManyFields, .headTooLarge: 431
        case .unknownCoding: 501
        case .version: 505
        default: 400
        }
    }

    package var reason: StaticString {
        switch self {
        case .bareLineFeed: "a line ends without CR LF"
        case .requestLine: "the request line is not METHOD SP TARGET SP VERSION"
        case .method: "the method is not a token"
        case .connectMethod: "CONNECT is not served: this is no forward proxy"
        case .target: "the request target is neither a path, nor an http URI, nor * for OPTIONS"
        case .version: "the version is not HTTP/1.0 or HTTP/1.1"
        case .statusLine: "the status line is not VERSION SP STATUS SP REASON"
        case .fieldName: "a field name is empty, has a space, or is followed by one"
        case .fieldValue: "a field value has a control character"
        case .foldedField: "a field is continued on a second line"
        case .missingHost: "there is no Host"
        case .repeatedHost: "there is more than one Host"
        case .invalidHost: "the Host is not HOST or HOST:PORT"
        case .contentLength: "the Content-Length is not a number"
        case .differingContentLengths: "there are several Content-Lengths, and they differ"
        case .transferEncoding: "the Transfer-Encoding is malformed"
        case .chunkedNotLast: "chunked is not the last coding, or stands twice"
        case .unknownCoding: "only the transfer coding chunked is supported"
        case .codingInHTTP10: "HTTP/1.0 has no Transfer-Encoding"
        case .connectionOptions: "Connection names more than 32 fields"
        case .codingAndLength: "there are both Transfer-Encoding and Content-Length"
        case .tooManyFields: "the head has more fields than limits.fields allows"
        case .headTooLarge: "the head is larger than limits.head_bytes allows"
        case .chunkSize: "a chunk size is not a hexadecimal number"
        case .chunkExtension: "a chunk extension is malformed or too long"
        case .chunkData: "a chunk does not end where its size says"
        case .trailer: "the trailer section is malformed or too large"
        }
    }
}
