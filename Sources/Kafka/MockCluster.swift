import CRdKafka

/// librdkafka's own imitation of a Kafka cluster, on loopback ports that it picks. It keeps nothing.
package final class MockCluster {
    private let client: OpaquePointer
    private let cluster: OpaquePointer

    package init(brokers: Int32) throws(KafkaError) {
        var handle = try KafkaProperties().makeHandle()
        rd_kafka_conf_set_log_cb(handle.raw, nil)
        var text = [CChar](repeating: 0, count: 512)
        guard let client = rd_kafka_new(RD_KAFKA_PRODUCER, handle.raw, &text, text.count) else {
            throw KafkaError(rd_kafka_last_error())
        }
        handle.give()
        guard let cluster = rd_kafka_mock_cluster_new(client, brokers) else {
            rd_kafka_destroy(client)
            throw KafkaError(RD_KAFKA_RESP_ERR__FAIL, reason: "the mock cluster does not start")
        }
        self.client = client
        self.cluster = cluster
    }

    deinit {
        rd_kafka_mock_cluster_destroy(cluster)
        rd_kafka_destroy(client)
    }

    /// Where clients find it.
    package var addresses: String { String(cString: rd_kafka_mock_cluster_bootstraps(cluster)) }

    package func createTopic(_ name: String, partitions: Int32) throws(KafkaError) {
        let code = rd_kafka_mock_topic_create(cluster, name, partitions, 1)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code) }
    }
}
