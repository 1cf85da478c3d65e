#include "core/details.h"
#include "base/error.h"
#include "codec/explain.h"
#include "codec/wire.h"
#include "codec/wire_scan.h"
#include "transport/transport.h"
#include <stdlib.h>

static const char URL_PREFIX[] = "type.googleapis.com/";

enum {
        STATUS_CODE = 1,
        STATUS_MESSAGE = 2,
        STATUS_DETAILS = 3,
        ANY_TYPE_URL = 1,
        ANY_VALUE = 2,
};

/* ---- writing ---------------------------------------------------------------------------------------------- */

static size_t varint_size(uint64_t value)
{
        size_t size = 1;
        for (; value >= 0x80; value >>= 7)
                size++;
        return size;
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
        for (; value >= 0x80; value >>= 7)
                *at++ = (uint8_t)(value | 0x80);
        *at++ = (uint8_t)value;
        return at;
}

/* A length-prefixed field; its tag is one byte. */
static size_t field_size(size_t size)
{
        return 1 + varint_size(size) + size;
}

static uint8_t *put_head(uint8_t *at, int number, size_t size)
{
        *at++ = (uint8_t)(number << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED);
        return put_varint(at, size);
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t size)
{
        memcpy(at, text, size);
        return at + size;
}

static size_t url_size(const ProtobufCMessage *detail)
{
        return sizeof URL_PREFIX - 1 + strlen(detail->descriptor->name);
}

static size_t any_size(const ProtobufCMessage *detail, size_t value_size)
{
        return field_size(url_size(detail)) + (value_size ? field_size(value_size) : 0);
}

static uint8_t *put_detail(uint8_t *at, const ProtobufCMessage *detail)
{
        size_t size = protobuf_c_message_get_packed_size(detail);
        at = put_head(at, STATUS_DETAILS, any_size(detail, size));
        at = put_head(at, ANY_TYPE_URL, url_size(detail));
        at = put_text(at, URL_PREFIX, sizeof URL_PREFIX - 1);
        at = put_text(at, detail->descriptor->name, strlen(detail->descriptor->name));
        if (!size)
                return at;
        at = put_head(at, ANY_VALUE, size);
        return at + protobuf_c_message_pack(detail, at);
}

/* Checks a detail. Its size in the status, or the error. */
static int64_t detail_size(const ProtobufCMessage *detail, size_t index)
{
        if (!detail || !detail->descriptor)
                return error_set(-EINVAL, "status detail %zu is %s", index,
                                 detail ? "not initialised: use its __INIT" : "NULL");
        int64_t size = wire_size(detail->descriptor, detail);
        if (size >= 0)
                return (int64_t)field_size(any_size(detail, (size_t)size));
        char text[256];
        explain(detail->descriptor, detail, (int)size, text, sizeof text);
        return error_set(size == -EMSGSIZE ? -EMSGSIZE : -EBADMSG, "status detail %zu cannot be sent: %s", index, text);
}

int details_pack(baton_code code, const char *message, const ProtobufCMessage *const *details, size_t n,
                 size_t max_bytes, uint8_t **out, size_t *size)
{
        size_t message_size = strlen(message);
        size_t sum = (code ? 1 + varint_size(code) : 0) + (message_size ? field_size(message_size) : 0);
        if (n && !details)
                return error_set(-EINVAL, "the status details are NULL, but %zu are announced", n);
        for (size_t i = 0; i < n; i++) {
                int64_t more = detail_size(details[i], i);
                if (more < 0)
                        return (int)more;
                sum += (size_t)more;
                if (sum > max_bytes)
                        break;
        }
        if (sum > max_bytes)
                return error_set(-EMSGSIZE,
                                 "the status details take more than the %zu bytes allowed: send less of them, or raise "
                                 "max_metadata_bytes on both sides",
                                 max_bytes);
        uint8_t *at = *out = malloc(sum ? sum : 1);
        if (!at)
                return error_set(-ENOMEM, "no memory for status details of %zu bytes", sum);
        *size = sum;
        if (code) {
                *at++ = STATUS_CODE << 3 | PROTOBUF_C_WIRE_TYPE_VARINT;
                at = put_varint(at, code);
        }
        if (message_size)
                at = put_text(put_head(at, STATUS_MESSAGE, message_size), message, message_size);
        for (size_t i = 0; i < n; i++)
                at = put_detail(at, details[i]);
        return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

const void *baton_status_details(const baton_status *status, size_t *size)
{
        const baton_metadata_entry *entry = status ? baton_metadata_find(status->trailers, DETAILS_TRAILER) : NULL;
        *size = entry ? entry->size : 0;
        return entry ? entry->value : NULL;
}

/* Whether a type URL ends with "/" and the type's name. The part before tells where to look a type up; here it is known. */
static bool url_names(const struct wire_item *url, const ProtobufCMessageDescriptor *type)
{
        size_t size = strlen(type->name);
        if (url->size <= size)
                return false;
        const uint8_t *name = url->data + url->size - size;
        return name[-1] == '/' && memcmp(name, type->name, size) == 0;
}

/* 1: this google.protobuf.Any holds that type, in *value; 0: another one; -EBADMSG. */
static int read_any(const struct wire_item *any, const ProtobufCMessageDescriptor *type, struct wire_item *value)
{
        struct wire_item item, url = { 0 };
        const uint8_t *at = any->data, *end = any->data + any->size;
        *value = (struct wire_item){ .data = end };
        while (at < end) {
                at = wire_next(at, end, &item);
                if (!at)
                        return -EBADMSG;
                if (item.tag != ANY_TYPE_URL && item.tag != ANY_VALUE)
                        continue;
                if (item.wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
                        return -EBADMSG;
                *(item.tag == ANY_VALUE ? value : &url) = item;
        }
        return url_names(&url, type);
}

/* Finds the first detail of that type. As read_any. */
static int find_detail(const uint8_t *at, size_t size, const ProtobufCMessageDescriptor *type, struct wire_item *value)
{
        const uint8_t *end = at + size;
        while (at < end) {
                struct wire_item item;
                at = wire_next(at, end, &item);
                if (!at)
                        return -EBADMSG;
                if (item.tag != STATUS_DETAILS)
                        continue;
                if (item.wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
                        return -EBADMSG;
                int r = read_any(&item, type, value);
                if (r)
                        return r;
        }
        return 0;
}

/* malloc, as far as a budget goes: a few bytes of a peer's can stand for messages of any size. */
struct budget {
        size_t left;
        bool exhausted;
};

static void *budget_alloc(void *context, size_t size)
{
        struct budget *budget = context;
        void *memory = size <= budget->left ? malloc(size) : NULL;
        if (memory)
                budget->left -= size;
        else
                budget->exhausted = true;
        return memory;
}

/* What it frees was allocated by budget_alloc, and may as well be freed by protobuf-c's own allocator. */
static void budget_free(void *context, void *memory)
{
        (void)context;
        free(memory);
}

static ProtobufCMessage *refuse(const ProtobufCMessageDescriptor *type, const char *why)
{
        error_set(-EBADMSG, "the status detail of type %s cannot be read: %s", type->name, why);
        return NULL;
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *type, const struct wire_item *value)
{
        int r = wire_scan(type, value->data, value->size);
        if (r < 0)
                return refuse(type, r == -EILSEQ  ? "a string is not UTF-8"
                                    : r == -ELOOP ? "it is nested too deeply"
                                                  : "it is malformed");
        struct budget budget = { .left = arena_budget(value->size) };
        ProtobufCAllocator allocator = { budget_alloc, budget_free, &budget };
        ProtobufCMessage *detail = protobuf_c_message_unpack(type, &allocator, value->size, value->data);
        if (detail)
                return detail;
        return refuse(type, budget.exhausted                                      ? "it takes too much memory"
                            : wire_lacks_required(type, value->data, value->size) ? "a required field is missing"
                                                                                  : "it is malformed");
}

ProtobufCMessage *baton_status_detail(const baton_status *status, const ProtobufCMessageDescriptor *type)
{
        if (!status || !type) {
                error_set(-EINVAL, "baton_status_detail: the %s is NULL", status ? "type" : "status");
                return NULL;
        }
        size_t size;
        const uint8_t *details = baton_status_details(status, &size);
        struct wire_item value;
        int r = details ? find_detail(details, size, type, &value) : 0;
        if (r > 0)
                return unpack(type, &value);
        if (r < 0)
                return refuse(type, "the status details around it are malformed");
        error_set(-ENOENT, "the status carries no detail of type %s", type->name);
        return NULL;
}
