/* The least that publishing lines can cost: rd_kafka_produceva in a loop over a mapped file of lines that are enriched already, with
 * the same key, headers, time and settings as Colophon sends, until all are acknowledged. produce BROKERS TOPIC FILE HEADERS */
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static long delivered;

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    if (message->err) { fprintf(stderr, "produce: %s\n", rd_kafka_err2str(message->err)); exit(1); }
    delivered++;
}

int main(int argc, char **argv) {
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *settings[][2] = {{"bootstrap.servers", argv[1]}, {"enable.idempotence", "true"}, {"acks", "all"},
        {"compression.codec", "zstd"}, {"partitioner", "murmur2_random"}, {"linger.ms", "20"}, {"queue.buffering.max.messages", "5000"},
        {"message.timeout.ms", "0"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error, sizeof error)) { fprintf(stderr, "%s\n", error); return 1; }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, argv[2], NULL);
    int file = open(argv[3], O_RDONLY), headers = atoi(argv[4]);
    struct stat status;
    fstat(file, &status);
    const char *data = mmap(0, status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0), *end = data + status.st_size;
    const char *digest = "1a85cde8f3a511be428ce54af3747367a4d3b8a55b6864a98eab15d07f9c1aae";
    long number = 0;
    for (const char *line = data, *next; line < end; line = next + 1, number++) {
        next = memchr(line, '\n', end - line);
        const char *key = memchr(line, ',', next - line) + 1, *after = memchr(key, ',', next - key);
        char origin[128];
        int length = snprintf(origin, sizeof origin, "01M7ZGG4JAB0BJ1S6NRF960RDV/file/01M7ZGG4JADX6BC040FAF4W90V:%ld", (long)(line - data));
        rd_kafka_vu_t with[10] = {
            {RD_KAFKA_VTYPE_RKT, {.rkt = topic}}, {RD_KAFKA_VTYPE_VALUE, {.mem = {(void *)line, next - line}}},
            {RD_KAFKA_VTYPE_KEY, {.mem = {(void *)key, after - key}}}, {RD_KAFKA_VTYPE_TIMESTAMP, {.i64 = 1741112463219}},
            {RD_KAFKA_VTYPE_HEADER, {.header = {"model_version", "als-20250304", 12}}},
            {RD_KAFKA_VTYPE_HEADER, {.header = {"manifest_sha256", digest, 64}}},
            {RD_KAFKA_VTYPE_HEADER, {.header = {"attribution", "inferred", 8}}},
            {RD_KAFKA_VTYPE_HEADER, {.header = {"origin", origin, length}}}};
        for (;;) {
            rd_kafka_error_t *failed = rd_kafka_produceva(rk, with, 4 + headers);
            if (!failed) break;
            if (rd_kafka_error_code(failed) != RD_KAFKA_RESP_ERR__QUEUE_FULL) { fprintf(stderr, "%s\n", rd_kafka_error_string(failed)); return 1; }
            rd_kafka_error_destroy(failed);
            rd_kafka_poll(rk, 10);
        }
        if (number % 64 == 0) rd_kafka_poll(rk, 0);
    }
    while (delivered < number) rd_kafka_poll(rk, 100);
    return 0;
}
