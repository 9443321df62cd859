import CRdKafka

package enum KafkaLibrary {
    /// The version of librdkafka that is loaded.
    package static var version: String { String(cString: rd_kafka_version_str()) }
}
