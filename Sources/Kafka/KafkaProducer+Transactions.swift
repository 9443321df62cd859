import CRdKafka

/// Why a call about a transaction has failed, and what may be done now.
package enum TransactionFailure: Error, Sendable {
    /// The same call may be made again.
    case passing(KafkaError)
    /// The transaction must be aborted, and then another one may begin.
    case mustAbort(KafkaError)
    /// Nothing more can be done with this client.
    case fatal(KafkaError)
    /// Another producer has taken over its transactional id.
    case fenced(KafkaError)

    init(consuming error: OpaquePointer) {
        let mustAbort = rd_kafka_error_txn_requires_abort(error) != 0
        let mayPass = rd_kafka_error_is_retriable(error) != 0
        let told = KafkaError(consuming: error)
        if told.isFencing {
            self = .fenced(told)
        } else if told.isFatal {
            self = .fatal(told)
        } else if mustAbort {
            self = .mustAbort(told)
        } else {
            self = mayPass ? .passing(told) : .fatal(told)
        }
    }

    package var error: KafkaError {
        switch self {
        case .passing(let error), .mustAbort(let error), .fatal(let error), .fenced(let error): error
        }
    }
}

/// Transactions, for a producer whose properties name a `transactional.id`. These calls wait for brokers: another thread than the one that
/// takes the events makes them, one at a time.
extension KafkaProducer {
    /// Ends what an earlier producer with the same id has left open, and fences it off.
    package func startTransactions(milliseconds: Int32) throws(TransactionFailure) {
        try ask { client in rd_kafka_init_transactions(client, milliseconds) }
    }

    /// Records that are produced from now on belong to a transaction. This asks nobody.
    package func beginTransaction() throws(TransactionFailure) {
        try ask { client in rd_kafka_begin_transaction(client) }
    }

    /// Takes along up to where the group has read.
    package func send(_ offsets: GroupOffsets) throws(TransactionFailure) {
        try ask { client in rd_kafka_send_offsets_to_transaction(client, offsets.list, offsets.group, -1) }
    }

    package func commitTransaction() throws(TransactionFailure) {
        try ask { client in rd_kafka_commit_transaction(client, -1) }
    }

    package func abortTransaction() throws(TransactionFailure) {
        try ask { client in rd_kafka_abort_transaction(client, -1) }
    }

    private func ask(_ call: (OpaquePointer) -> OpaquePointer?) throws(TransactionFailure) {
        if let error = withClient({ call($0) }) { throw TransactionFailure(consuming: error) }
    }
}
