/* kv-client: the store of kv.proto on the command line. Results go to stdout, the summary to stderr. */
#include "common/report.h"
#include "common/shared_memory.h"
#include "common/watching.h"
#include "kv.baton.h"
#include "limits.h"
#include "session.h"
#include <baton/baton.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
        "usage: kv-client [--address ADDRESS] [--repeat N] [--timeout MS] [--token TOKEN] COMMAND\n"
        "  put KEY VALUE      stores a value\n"
        "  put KEY @FILE      stores a file's contents\n"
        "  get KEY            writes the value to stdout\n"
        "  delete KEY\n"
        "  add KEY NUMBER     adds to a number, prints the sum\n"
        "  scan [PREFIX]      lists keys and the sizes of their values\n"
        "  stats              what the store holds and has moved\n"
        "  count FILE         counts the words of a text in the store, one call each\n"
        "  load FILE          the same by one stream\n"
        "  verify FILE...     compares the store's counts with those of the files together\n"
        "  watch [PREFIX [N]] prints changes as they happen, at most N\n"
        "  follow [PREFIX [N]] prints first what is there\n"
        "  transact           runs a transaction from stdin: get KEY, put KEY VALUE,\n"
        "                     delete KEY, commit\n"
        "  transfer FROM TO NUMBER  moves an amount between two numbers\n"
        "--repeat does put, get and transfer N times; --timeout ends each call after MS milliseconds.\n";

void session_count(struct session *session, uint64_t start_ns, uint64_t moved, uint64_t by_reference)
{
        latency_add(&session->latency, now_ns() - start_ns);
        session->moved += moved;
        session->by_reference += by_reference;
}

static void print_summary(struct session *session)
{
        double moved = (double)session->moved / 1e6, by_reference = (double)session->by_reference / 1e6;
        fprintf(stderr, "%zu calls, p50 %.1f us, p99 %.1f us; %.3f MB moved, %.3f MB of it copied into messages\n",
                session->latency.n, latency_percentile_us(&session->latency, 50),
                latency_percentile_us(&session->latency, 99), moved, moved - by_reference);
}

/* Reads the file into shared memory: the server will see these very bytes. */
static ProtobufCBinaryData read_file(baton_channel *channel, const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat stat;
        if (fd < 0 || fstat(fd, &stat) < 0)
                die("%s: %s", path, strerror(errno));
        if (!S_ISREG(stat.st_mode))
                die("%s: is no regular file", path);
        ProtobufCBinaryData value = { .len = (size_t)stat.st_size };
        if (value.len == 0)
                return close(fd), value;
        value.data = baton_channel_alloc(channel, value.len);
        if (!value.data)
                die("%s: no shared memory for %zu bytes: %s", path, value.len, baton_error());
        for (size_t done = 0; done < value.len;) {
                ssize_t n = read(fd, value.data + done, value.len - done);
                if (n <= 0)
                        die("%s: cannot be read: %s", path, n < 0 ? strerror(errno) : "it has shrunk");
                done += (size_t)n;
        }
        close(fd);
        return value;
}

static void put(struct session *session, char *key, char *value, unsigned repeat)
{
        bool from_file = value[0] == '@';
        Kv__PutRequest request = KV__PUT_REQUEST__INIT;
        request.key = key;
        if (from_file)
                request.value = read_file(session->channel, value + 1);
        else
                request.value = (ProtobufCBinaryData){ strlen(value), (uint8_t *)value };

        for (unsigned i = 0; i < repeat; i++) {
                uint64_t start = now_ns();
                const Kv__PutReply *reply = NULL;
                die_unless_ok(kv_put(session->channel, &request, &reply, &session->options), "put");
                bool large = from_file && request.value.len >= KV_LARGE_VALUE;
                session_count(session, start, strlen(key) + request.value.len, large ? request.value.len : 0);
                baton_release(reply);
        }
        if (from_file)
                baton_channel_free(session->channel, request.value.data);
}

static void get(struct session *session, char *key, unsigned repeat)
{
        Kv__GetRequest request = KV__GET_REQUEST__INIT;
        request.key = key;
        for (unsigned i = 0; i < repeat; i++) {
                uint64_t start = now_ns();
                const Kv__GetReply *reply = NULL;
                die_unless_ok(kv_get(session->channel, &request, &reply, &session->options), "get");
                session_count(session, start, strlen(key) + reply->value.len, 0);
                if (reply->value.len >= KV_LARGE_VALUE && in_shared_memory(reply->value.data))
                        session->by_reference += reply->value.len;
                if (i == 0 && reply->value.len && fwrite(reply->value.data, reply->value.len, 1, stdout) != 1)
                        die("get: cannot write the value to stdout: %s", strerror(errno));
                baton_release(reply);
        }
}

static void delete_key(struct session *session, char *key)
{
        Kv__DeleteRequest request = KV__DELETE_REQUEST__INIT;
        request.key = key;
        uint64_t start = now_ns();
        const Kv__DeleteReply *reply = NULL;
        die_unless_ok(kv_delete(session->channel, &request, &reply, &session->options), "delete");
        session_count(session, start, strlen(key), 0);
        baton_release(reply);
}

static int64_t parse_number64(const char *text)
{
        char *end;
        errno = 0;
        int64_t number = strtoll(text, &end, 10);
        if (errno || end == text || *end)
                die("'%s' is no number of 64 bits", text);
        return number;
}

static void add(struct session *session, char *key, const char *number)
{
        Kv__AddRequest request = KV__ADD_REQUEST__INIT;
        request.key = key;
        request.delta = parse_number64(number);
        uint64_t start = now_ns();
        const Kv__AddReply *reply = NULL;
        die_unless_ok(kv_add(session->channel, &request, &reply, &session->options), "add");
        session_count(session, start, strlen(key), 0);
        printf("%" PRId64 "\n", reply->sum);
        baton_release(reply);
}

static void scan(struct session *session, char *prefix)
{
        Kv__ScanRequest request = KV__SCAN_REQUEST__INIT;
        request.prefix = prefix;
        request.keys_only = true;
        do {
                uint64_t start = now_ns(), moved = strlen(prefix);
                const Kv__ScanReply *reply = NULL;
                die_unless_ok(kv_scan(session->channel, &request, &reply, &session->options), "scan");
                for (size_t i = 0; i < reply->n_entries; i++) {
                        printf("%s %" PRIu64 "\n", reply->entries[i]->key, reply->entries[i]->size);
                        moved += strlen(reply->entries[i]->key);
                }
                session_count(session, start, moved, 0);
                request.cursor = reply->next_cursor;
                baton_release(reply);
        } while (request.cursor);
}

static void stats(struct session *session)
{
        Kv__StatsRequest request = KV__STATS_REQUEST__INIT;
        const Kv__StatsReply *reply = NULL;
        die_unless_ok(kv_stats(session->channel, &request, &reply, &session->options), "stats");
        printf("%" PRIu64 " calls; %" PRIu64 " keys, %.3f MB held; %.3f MB moved, %.3f MB copied\n", reply->calls,
               reply->keys, (double)reply->bytes_held / 1e6, (double)reply->bytes_moved / 1e6,
               (double)reply->bytes_copied / 1e6);
        baton_release(reply);
}

/* Runs the command; n arguments follow its name. Returns the exit status. */
static int run(struct session *session, const char *command, char **arguments, int n, unsigned repeat)
{
        int status = 0;
        if (strcmp(command, "put") == 0 && n == 2)
                put(session, arguments[0], arguments[1], repeat);
        else if (strcmp(command, "get") == 0 && n == 1)
                get(session, arguments[0], repeat);
        else if (strcmp(command, "delete") == 0 && n == 1)
                delete_key(session, arguments[0]);
        else if (strcmp(command, "add") == 0 && n == 2)
                add(session, arguments[0], arguments[1]);
        else if (strcmp(command, "scan") == 0 && n <= 1)
                scan(session, n == 1 ? arguments[0] : (char *)"");
        else if (strcmp(command, "stats") == 0 && n == 0)
                stats(session);
        else if (strcmp(command, "load") == 0 && n == 1)
                load_words(session, arguments[0]);
        else if (strcmp(command, "count") == 0 && n == 1)
                count_words(session, arguments[0]);
        else if ((strcmp(command, "watch") == 0 || strcmp(command, "follow") == 0) && n <= 2)
                watch_keys(session, n >= 1 ? arguments[0] : (char *)"", command[0] == 'f',
                           n == 2 ? parse_number("N", arguments[1], 1, 1u << 30) : 0);
        else if (strcmp(command, "transact") == 0 && n == 0)
                status = run_transaction(session);
        else if (strcmp(command, "transfer") == 0 && n == 3)
                transfer(session, arguments[0], arguments[1], parse_number64(arguments[2]), repeat);
        else if (strcmp(command, "verify") == 0 && n >= 1)
                status = verify_words(session, arguments, n) ? 1 : 0;
        else
                die("'%s' with %d arguments is not understood\n%s", command, n, usage);
        return status;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "address", required_argument, NULL, 'a' },
                { "repeat", required_argument, NULL, 'r' },
                { "timeout", required_argument, NULL, 't' },
                { "token", required_argument, NULL, 'k' },
                { 0 },
        };
        const char *address = "shm:kv", *token = NULL;
        unsigned repeat = 1, timeout_ms = 0;
        for (int option; (option = getopt_long(argc, argv, "+a:r:t:k:", options, NULL)) != -1;) {
                if (option == 'a')
                        address = optarg;
                else if (option == 'r')
                        repeat = parse_number("--repeat", optarg, 1, 10000000);
                else if (option == 't')
                        timeout_ms = parse_number("--timeout", optarg, 1, 1u << 30);
                else if (option == 'k')
                        token = optarg;
                else
                        die("%s", usage);
        }
        if (optind == argc)
                die("no command\n%s", usage);

        baton_interceptor interceptor = send_token(token);
        const baton_channel_options channel_options = { .interceptors = &interceptor, .n_interceptors = token ? 1 : 0 };
        struct session session = { .channel = baton_channel_open(address, &channel_options),
                                   .options = { .timeout_ms = timeout_ms ? timeout_ms : 10000 },
                                   .stream_options = { .timeout_ms = timeout_ms } };
        if (!session.channel)
                die("%s", baton_error());
        int status = run(&session, argv[optind], argv + optind + 1, argc - optind - 1, repeat);
        if (session.latency.n)
                print_summary(&session);
        latency_free(&session.latency);
        baton_channel_close(session.channel);
        return status;
}
