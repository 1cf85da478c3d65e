/*
 * What do the codecs cost by themselves? A message is written into a buffer and read back into an arena: by the graph
 * codec, specialised and generic, by the wire codec, and, to compare, by protobuf-c alone, which checks neither UTF-8 nor
 * depth, into the same arena.
 */
#include "harness.h"
#include "codec.baton.h"

#include <cstring>

extern "C" {
#include "base/arena.h"
#include "codec/graph.h"
#include "codec/wire.h"
}

namespace perf
{

constexpr std::size_t room = 1 << 20;
constexpr std::size_t triples = 1000;
constexpr std::size_t blob_size = 64 << 10;

/* What every round trip works in. */
struct Workshop {
        std::vector<std::uint64_t> buffer;
        std::vector<std::uint64_t> first_chunk;
        baton_arena arena;

        Workshop() : buffer(room / 8), first_chunk(room / 8)
        {
                arena_init_inline(&arena, room, first_chunk.data(), room);
        }
        ~Workshop()
        {
                arena_deinit(&arena);
        }
        std::uint8_t *bytes()
        {
                return reinterpret_cast<std::uint8_t *>(buffer.data());
        }
};

/* ---- graph ------------------------------------------------------------------------------------------------ */

/* Payloads lie at the heap's start already. */
static int lend(baton_graph_writer *, const void *, std::size_t, std::uint64_t *offset)
{
        *offset = 0;
        return 0;
}

/* heap: where the message's payload lies, to be lent; NULL: it travels inline. */
static void graph(benchmark::State &state, const baton_type *type, const ProtobufCMessage *message,
                  const std::uint8_t *heap, int batch)
{
        Workshop workshop;
        const auto round_trip = [&] {
                baton_graph_writer writer = {};
                writer.at = workshop.bytes();
                writer.end = workshop.bytes() + room;
                writer.lend_min = 4096;
                writer.lend = heap ? lend : nullptr;
                if (graph_encode(type, &writer, message) < 0)
                        return fail_with("graph_encode failed");
                baton_graph_reader reader = {};
                reader.at = workshop.bytes();
                reader.end = writer.at;
                reader.heap = heap;
                reader.heap_size = heap ? blob_size : 0;
                reader.arena = &workshop.arena;
                ProtobufCMessage *read = nullptr;
                if (graph_decode(type, &reader, &read) < 0)
                        return fail_with("graph_decode failed");
                benchmark::DoNotOptimize(read);
                arena_reset(&workshop.arena);
                return true;
        };
        warm_up(round_trip);
        sample(state, batch, round_trip);
}

/* ---- wire ------------------------------------------------------------------------------------------------- */

static void checked_wire(benchmark::State &state, const ProtobufCMessage *message, int batch)
{
        Workshop workshop;
        const auto round_trip = [&] {
                const std::int64_t size = wire_pack(message->descriptor, message, workshop.bytes(), room);
                if (size < 0)
                        return fail_with("wire_pack failed");
                ProtobufCMessage *read = nullptr;
                if (wire_unpack(message->descriptor, workshop.bytes(), static_cast<std::size_t>(size), &workshop.arena,
                                &read) < 0)
                        return fail_with("wire_unpack failed");
                benchmark::DoNotOptimize(read);
                arena_reset(&workshop.arena);
                return true;
        };
        warm_up(round_trip);
        sample(state, batch, round_trip);
}

static void *take(void *arena, std::size_t size)
{
        return baton_arena_alloc(static_cast<baton_arena *>(arena), size);
}

static void give(void *, void *)
{
}

static void bare_wire(benchmark::State &state, const ProtobufCMessage *message, int batch)
{
        Workshop workshop;
        ProtobufCAllocator allocator = { take, give, &workshop.arena };
        const auto round_trip = [&] {
                const std::size_t size = protobuf_c_message_pack(message, workshop.bytes());
                ProtobufCMessage *read =
                        protobuf_c_message_unpack(message->descriptor, &allocator, size, workshop.bytes());
                if (!read)
                        return fail_with("protobuf_c_message_unpack failed");
                benchmark::DoNotOptimize(read);
                arena_reset(&workshop.arena);
                return true;
        };
        warm_up(round_trip);
        sample(state, batch, round_trip);
}

/* ---- the messages ----------------------------------------------------------------------------------------- */

struct Subject {
        const baton_type *type;
        const ProtobufCMessage *message;
        const std::uint8_t *payload;
        int batch;
};

static Subject triple()
{
        static Perf__Codec__Triple message = PERF__CODEC__TRIPLE__INIT;
        message.x = 1;
        message.y = UINT64_MAX;
        message.z = 3;
        return { &perf__codec__triple__type, &message.base, nullptr, 1000 };
}

static Subject sub_messages()
{
        static Perf__Codec__Triple elements[triples];
        static Perf__Codec__Triple *pointers[triples];
        for (std::size_t i = 0; i < triples; i++) {
                perf__codec__triple__init(&elements[i]);
                elements[i].x = i;
                elements[i].y = elements[i].z = UINT64_MAX - i;
                pointers[i] = &elements[i];
        }
        static Perf__Codec__Triples message = PERF__CODEC__TRIPLES__INIT;
        message.n_triples = triples;
        message.triples = pointers;
        return { &perf__codec__triples__type, &message.base, nullptr, 1 };
}

static Subject blob()
{
        static std::uint8_t data[blob_size];
        std::memset(data, 1, sizeof data);
        static Perf__Codec__Blob message = PERF__CODEC__BLOB__INIT;
        message.data = { sizeof data, data };
        return { &perf__codec__blob__type, &message.base, data, 10 };
}

static void specialised(benchmark::State &state, const Subject &subject)
{
        graph(state, subject.type, subject.message, nullptr, subject.batch);
}

static void generic(benchmark::State &state, const Subject &subject)
{
        const baton_type type = { subject.type->descriptor, nullptr, nullptr };
        graph(state, &type, subject.message, nullptr, subject.batch);
}

static void reference(benchmark::State &state, const Subject &subject)
{
        graph(state, subject.type, subject.message, subject.payload, 1000);
}

static void wire(benchmark::State &state, const Subject &subject)
{
        checked_wire(state, subject.message, subject.batch);
}

static void protobuf_c(benchmark::State &state, const Subject &subject)
{
        bare_wire(state, subject.message, subject.batch);
}

static const bool registered = [] {
        const struct {
                const char *name;
                Subject subject;
        } subjects[] = { { "24B", triple() }, { "1000_sub_messages", sub_messages() }, { "64KiB_bytes", blob() } };
        for (const auto &[name, subject] : subjects) {
                const std::string prefix = std::string("codec/") + name;
                benchmark::RegisterBenchmark((prefix + "/protobuf_c").c_str(), protobuf_c, subject);
                benchmark::RegisterBenchmark((prefix + "/wire").c_str(), wire, subject);
                benchmark::RegisterBenchmark((prefix + "/graph_generic").c_str(), generic, subject);
                benchmark::RegisterBenchmark((prefix + "/graph_specialised").c_str(), specialised, subject);
                if (subject.payload)
                        benchmark::RegisterBenchmark((prefix + "/graph_by_reference").c_str(), reference, subject);
        }
        return true;
}();

} // namespace perf
