/* Looks every prefix of a file up in a ledger, with the statement that Colophon uses: what SQLite itself allows. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *query =
    "SELECT id, digest FROM records WHERE kind = 'manifest' AND digest BETWEEN ?1 AND ?2 ORDER BY digest LIMIT ?3";

static int value(char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; }

static void bounds(const char *prefix, unsigned char *low, unsigned char *high) {
    memset(low, 0, 32);
    memset(high, 0xff, 32);
    for (int i = 0; prefix[i]; i++) {
        int shift = i % 2 ? 0 : 4;
        low[i / 2] |= value(prefix[i]) << shift;
        high[i / 2] = (high[i / 2] & ~(15 << shift)) | value(prefix[i]) << shift;
    }
}

static long lookup(sqlite3_stmt *statement, char (*prefixes)[16], long count) {
    long found = 0;
    unsigned char low[32], high[32], digest[32];
    for (long i = 0; i < count; i++) {
        bounds(prefixes[i], low, high);
        sqlite3_bind_blob(statement, 1, low, 32, SQLITE_TRANSIENT);
        sqlite3_bind_blob(statement, 2, high, 32, SQLITE_TRANSIENT);
        sqlite3_bind_int64(statement, 3, 2);
        while (sqlite3_step(statement) == SQLITE_ROW) {
            found += sqlite3_column_int64(statement, 0) != 0;
            memcpy(digest, sqlite3_column_blob(statement, 1), 32);
        }
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
    }
    return found;
}

int main(int argc, char **argv) {
    static char prefixes[1 << 20][16];
    long count = 0;
    FILE *file = fopen(argv[2], "r");
    while (count < 1 << 20 && fscanf(file, "%15s", prefixes[count]) == 1) count++;
    sqlite3 *database;
    sqlite3_stmt *statement;
    if (argc != 3 || sqlite3_open_v2(argv[1], &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, 0) != SQLITE_OK) return 1;
    sqlite3_exec(database, "BEGIN", 0, 0, 0);
    if (sqlite3_prepare_v3(database, query, -1, SQLITE_PREPARE_PERSISTENT, &statement, 0) != SQLITE_OK) return 1;
    lookup(statement, prefixes, count);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    long found = lookup(statement, prefixes, count);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (found != count) return 1;
    printf("%.0f\n", count / (end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9));
    return 0;
}
