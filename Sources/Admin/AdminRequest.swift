import Provenance

/// A request to the admin listener, as far as routes need it.
package struct AdminRequest: Sendable {
    package let method: String
    /// Without the query.
    package let path: String
    /// What stands behind the question mark, if anything.
    package let query: String
    /// What stands behind `Bearer`, if anything.
    package let token: String?
    /// Without parameters, in lower case.
    package let contentType: String
    package let contentEncoding: String
    package let host: String
    package let origin: String?

    package init(
        method: String, path: String, query: String = "", token: String? = nil, contentType: String = "",
        contentEncoding: String = "", host: String = "", origin: String? = nil
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.token = token
        self.contentType = contentType
        self.contentEncoding = contentEncoding
        self.host = host
        self.origin = origin
    }
}

package struct AdminResponse: Sendable {
    package let status: Int
    package let contentType: String
    package let body: [UInt8]
    package let fields: [(name: String, value: String)]

    package init(status: Int, contentType: String, body: [UInt8], fields: [(name: String, value: String)] = []) {
        self.status = status
        self.contentType = contentType
        self.body = body
        self.fields = fields
    }

    package static func json(
        _ status: Int, _ value: JSON, fields: [(name: String, value: String)] = []
    ) -> AdminResponse {
        AdminResponse(
            status: status, contentType: "application/json",
            body: JSONWriter.pretty.bytes(value) + [UInt8(ascii: "\n")], fields: fields)
    }

    /// RFC 9457.
    package static func problem(
        _ status: Int, _ detail: String, more: [JSONObject.Member] = [], fields: [(name: String, value: String)] = []
    ) -> AdminResponse {
        let document = JSONObject(
            [
                .init("title", .string(title(status))), .init("status", .integer(status)),
                .init("detail", .string(detail)),
            ] + more)
        return AdminResponse(
            status: status, contentType: "application/problem+json",
            body: JSONWriter.compact.bytes(.object(document)) + [UInt8(ascii: "\n")], fields: fields)
    }

    static func title(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 204: "No Content"
        case 304: "Not Modified"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 413: "Content Too Large"
        case 415: "Unsupported Media Type"
        case 422: "Unprocessable Content"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 503: "Service Unavailable"
        case 505: "HTTP Version Not Supported"
        default: "Error"
        }
    }
}
