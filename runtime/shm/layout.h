/*
 * What two processes agree on: the layout of the shared regions and the messages of the control socket. Everything here
 * is written by one side and read by the other, which trusts none of it.
 *
 * Each side owns regions that only it can write:
 *   base region   struct shm_base, then the side's half of lane 0
 *   lane region   the side's half of one further lane
 *   heap segment  payloads
 * A lane is a pair of halves, one of each side. A half holds the ring its owner fills, and how far its owner has
 * read the other's ring.
 */
#ifndef SHM_LAYOUT_H
#define SHM_LAYOUT_H

#include <stdatomic.h>
#include <stdint.h>

enum {
        SHM_VERSION = 2,
        SHM_LINE = 64,         /* bytes; the unit of a ring, and of the cache */
        SHM_RING_LEAST = 8192, /* bytes; a failure's text of 1 KiB has to fit in a quarter */
        SHM_RING_MOST = 1 << 20,
        SHM_LANES = 64,   /* per connection */
        SHM_LOANS = 1024, /* messages with payloads in one side's heap that may be on loan at once */
        SHM_TEXT = 512,   /* longest text of a refusal, with its NUL */
        SHM_SEGMENT_LEAST = 1 << 20,
};

#define SHM_MAGIC 0x004e4f544142u         /* "BATON" */
#define SHM_HEAP_MOST (UINT64_C(1) << 33) /* the peer reserves as many addresses */

/* Where a record starts. The reader polls `mark`; the rest is valid once the mark is right. */
struct shm_record {
        _Atomic uint64_t mark; /* the record's line number in the ring's life, plus one */
        uint32_t size;         /* bytes of the body that follows */
        uint16_t method;       /* request: the server's number of the method. Reply: the status code. Else 0. */
        uint8_t kind;          /* shm_kind */
        uint8_t flags;         /* shm_flags */
        uint64_t call;         /* the client's number of the call; a reply repeats it */
        uint64_t
                deadline_ns; /* request: CLOCK_MONOTONIC, 0: none. Credit: lines. Message: lines that it counts besides its own */
};

/*
 * Calls. A client's number of a call has its slot in the low 16 bits, which no other call of its lane has at the same time: a request
 * ends what its slot held before. Both sides may send records for calls that the other has just ended: they are dropped.
 *
 * Streams. Each side lets the other send so many lines of messages ahead (stream_window, in HELLO and WELCOME), counted with their
 * headers, and gives the credit back as its reader gets on. A stream that is not read must hold neither all of a connection's loans nor
 * all of its heap: a message with a loan counts as SHM_LOAN_LINES at least, and one line more for each SHM_LENT_PER_LINE bytes
 * that it lends. A message may be sent while there is any credit left.
 */
enum { SHM_SLOT_BITS = 16, SHM_LOAN_LINES = 16, SHM_LENT_PER_LINE = 16 << 10 };

enum shm_kind {
        SHM_PAD = 1, /* fills the ring up to its end */
        SHM_REQUEST = 2,
        SHM_REPLY = 3,      /* ends the call; with a message where a single reply is due */
        SHM_MESSAGE = 4,    /* of a stream, either way */
        SHM_HALF_CLOSE = 5, /* client: no more messages */
        SHM_CANCEL = 6,     /* client: ends the call; no reply is due */
        SHM_CREDIT = 7,     /* either way: so many more lines may be sent */
        SHM_HEADERS = 8,    /* server: its metadata, before messages and the reply */
        SHM_FENCE = 9,      /* client: to be sent back, once what stands before it is taken */
};

enum shm_flags {
        SHM_GRAPH = 1 << 0,       /* the message is a graph stream; otherwise protobuf wire format */
        SHM_GRAPH_REPLY = 1 << 1, /* request: the reply may be a graph stream */
        SHM_LOAN = 1 << 2,        /* the body ends with struct shm_loan */
        SHM_OUTLINE = 1 << 3,     /* the message lies in the heap; the body holds struct shm_outline in its place */
        SHM_NOT_RUN = 1 << 4,     /* reply that is a failure: the handler certainly did not run */
        SHM_METADATA = 1 << 5,    /* the body starts with struct shm_metadata */
        SHM_ONEWAY = 1 << 6,      /* request: no reply is due */
};

/* The message holds payloads in the sender's heap, to be given back by pushing `loan` once. */
struct shm_loan {
        uint64_t loan;
        uint64_t heap_size; /* the reader must have mapped this much of the sender's heap */
};

struct shm_outline {
        uint64_t offset;
        uint64_t size;
};

/* Metadata in its flat form (transport/metadata.h): `size` bytes that follow here, or lie in the heap. */
struct shm_metadata {
        uint64_t offset; /* in the heap, or SHM_HERE */
        uint64_t size;
};

#define SHM_HERE UINT64_MAX
#define SHM_CREDIT_MOST (UINT64_C(1) << 24) /* lines; more than the largest window */

struct shm_line {
        _Alignas(SHM_LINE) uint8_t bytes[SHM_LINE];
};

/* One side's half of a lane. */
struct shm_half {
        _Alignas(SHM_LINE) _Atomic uint64_t consumed; /* lines of the other half's ring that I have read */
        /* 0: I poll. Otherwise I wait for a bell; differs for each wait. Odd: also for room in my ring. */
        _Alignas(SHM_LINE) _Atomic uint32_t asleep;
        _Atomic uint32_t bell; /* I change it, then FUTEX_WAKE it, when the other side sleeps; it waits on this word */
        struct shm_line ring[];
};

/* The start of a base region. */
struct shm_base {
        /* The other side's loans that I have given back, in order: position << 16 | loan, the position counted from 1. */
        _Alignas(SHM_LINE) _Atomic uint64_t returned[SHM_LOANS];
        struct shm_half lane0;
};

/* ---- the control socket (SOCK_SEQPACKET) ------------------------------------------------------------------ */

enum shm_message_kind {
        SHM_HELLO = 1,   /* client → server, with its base region */
        SHM_WELCOME = 2, /* server → client, with its base region and the method table */
        SHM_REFUSE = 3,  /* server → client, then it closes */
        SHM_BELL = 4,    /* client → server: look at this lane */
        SHM_LANE = 5,    /* with a lane region; the client's also with a bell socket, where the lane is asynchronous */
        SHM_SEGMENT = 6, /* with a further segment of the sender's heap */
        SHM_GOAWAY = 7,  /* server → client: it drains */
        SHM_PING = 8,    /* client → server: are you alive? */
        SHM_PONG = 9,    /* server → client */
        /* A hot restart. These stay as they are in every version: the two servers may be of different ones. */
        SHM_TAKEOVER = 10, /* new server → old one, in place of HELLO */
        SHM_HANDOVER = 11, /* old → new, with the listening socket, and the lock where there is one; both accept now */
        SHM_TAKEN = 12,    /* new → old: I serve; you stop accepting, and drain */
};

#define SHM_KIND_LAST SHM_TAKEN

struct shm_plain { /* GOAWAY, PING, PONG and TAKEN */
        uint32_t kind;
        uint32_t unused;
};

struct shm_takeover { /* TAKEOVER and HANDOVER */
        uint32_t kind;
        uint32_t owns_file; /* HANDOVER: the socket file is to be removed at the end */
        uint64_t magic;
};

struct shm_hello { /* HELLO and WELCOME */
        uint32_t kind;
        uint32_t version;
        uint64_t magic;
        uint64_t heap_max;      /* bytes that the sender's heap can grow to */
        uint32_t ring_bytes;    /* of lane 0, each way */
        uint32_t n_methods;     /* WELCOME: entries of the method table */
        uint64_t stream_window; /* lines */
};

struct shm_refusal {
        uint32_t kind;
        uint32_t code; /* baton_code */
        char text[SHM_TEXT];
};

struct shm_bell {
        uint32_t kind;
        uint32_t lane;
};

struct shm_new_lane {
        uint32_t kind;
        uint32_t lane;
        uint32_t ring_bytes;
        uint32_t has_bell;
};

struct shm_new_segment {
        uint32_t kind;
        uint32_t unused;
        uint64_t offset; /* in the heap; segments follow each other without gaps */
        uint64_t size;
};

/* An entry of the method table, whose number is its place. */
struct shm_method {
        uint64_t path_hash;
        uint64_t input_layout;
        uint64_t output_layout;
};

#endif
