#include "core/details.h"
#include "codec/wire.h"
#include "details.pb-c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 8192 };

/* A status whose trailers carry these bytes, copied to memory of their exact size. */
struct carrier {
        baton_status status;
        baton_metadata trailers;
        baton_metadata_entry entries[2];
};

static const baton_status *carry(struct carrier *carrier, const void *bytes, size_t size)
{
        void *copy = malloc(size ? size : 1);
        memcpy(copy, bytes, size);
        *carrier = (struct carrier){ .entries = { baton_text("other", "x"), { DETAILS_TRAILER, copy, size } } };
        carrier->trailers = (baton_metadata){ 2, carrier->entries };
        carrier->status = (baton_status){ .code = BATON_NOT_FOUND, .message = "", .trailers = &carrier->trailers };
        return &carrier->status;
}

static void drop(struct carrier *carrier)
{
        free((void *)carrier->entries[1].value);
}

static Details__BadRequest *bad_request(void)
{
        static Details__BadRequest__Violation violation = DETAILS__BAD_REQUEST__VIOLATION__INIT;
        static Details__BadRequest__Violation *violations[] = { &violation };
        static Details__BadRequest detail = DETAILS__BAD_REQUEST__INIT;
        violation.field = (char *)"name";
        violation.description = (char *)"is too long";
        detail.n_violations = 1;
        detail.violations = violations;
        return &detail;
}

/* ---- writing ---------------------------------------------------------------------------------------------- */

/* What protobuf-c makes of the same. */
static size_t second_opinion(int code, const char *message, const ProtobufCMessage *const *details, size_t n,
                             uint8_t *out)
{
        Details__Status status = DETAILS__STATUS__INIT;
        Details__Any any[4], *anys[4];
        char urls[4][100];
        uint8_t values[4][4096];
        status.has_code = code != 0;
        status.code = code;
        status.message = *message ? (char *)message : NULL;
        status.n_details = n;
        status.details = anys;
        for (size_t i = 0; i < n; i++) {
                details__any__init(&any[i]);
                snprintf(urls[i], sizeof urls[i], "type.googleapis.com/%s", details[i]->descriptor->name);
                any[i].type_url = urls[i];
                any[i].value.len = protobuf_c_message_pack(details[i], values[i]);
                any[i].value.data = values[i];
                any[i].has_value = any[i].value.len > 0;
                anys[i] = &any[i];
        }
        return details__status__pack(&status, out);
}

static void packs_as_protobuf_does(void **state)
{
        (void)state;
        Details__Empty empty = DETAILS__EMPTY__INIT;
        Details__Any any = DETAILS__ANY__INIT;
        char text[3000];
        memset(text, 'x', sizeof text);
        any.type_url = text;
        const ProtobufCMessage *details[] = { &bad_request()->base, &empty.base, &any.base };
        static const size_t lengths[] = { 0, 1, 127, 128, 300, 2999 };
        for (size_t n = 0; n <= 3; n++) {
                for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                        memset(text, 'x', sizeof text);
                        text[lengths[i]] = 0;
                        uint8_t wanted[16384], *got;
                        size_t size, wanted_size = second_opinion((int)(n * 5), text, details, n, wanted);
                        assert_int_equal(details_pack((baton_code)(n * 5), text, details, n, wanted_size, &got, &size),
                                         0);
                        assert_int_equal(size, wanted_size);
                        assert_memory_equal(got, wanted, size);
                        free(got);
                        if (size)
                                assert_int_equal(details_pack((baton_code)(n * 5), text, details, n, wanted_size - 1,
                                                              &got, &size),
                                                 -EMSGSIZE);
                }
        }
}

static void refuses_to_pack(void **state)
{
        (void)state;
        uint8_t *out;
        size_t size;
        Details__Any any = DETAILS__ANY__INIT;
        Details__Any raw = { 0 };
        const ProtobufCMessage *details[] = { &any.base, NULL };
        assert_int_equal(details_pack(BATON_ABORTED, "m", details, 2, MAX, &out, &size), -EINVAL);
        assert_string_equal(baton_error(), "status detail 1 is NULL");
        details[1] = &raw.base;
        assert_int_equal(details_pack(BATON_ABORTED, "m", details, 2, MAX, &out, &size), -EINVAL);
        assert_int_equal(details_pack(BATON_ABORTED, "m", NULL, 1, MAX, &out, &size), -EINVAL);
        any.type_url = (char *)"\xff";
        assert_int_equal(details_pack(BATON_ABORTED, "m", details, 1, MAX, &out, &size), -EBADMSG);
        assert_non_null(strstr(baton_error(), "details.Any.type_url"));
        Details__BadRequest *detail = bad_request();
        detail->violations[0]->field = NULL;
        details[0] = &detail->base;
        assert_int_equal(details_pack(BATON_ABORTED, "m", details, 1, MAX, &out, &size), -EBADMSG);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static void there_and_back(void **state)
{
        (void)state;
        Details__Empty empty = DETAILS__EMPTY__INIT;
        const ProtobufCMessage *details[] = { &empty.base, &bad_request()->base };
        uint8_t *bytes;
        size_t size;
        assert_int_equal(details_pack(BATON_NOT_FOUND, "no such thing", details, 2, MAX, &bytes, &size), 0);
        struct carrier carrier;
        const baton_status *status = carry(&carrier, bytes, size);
        size_t raw_size;
        const void *raw = baton_status_details(status, &raw_size);
        assert_int_equal(raw_size, size);
        assert_memory_equal(raw, bytes, size);
        free(bytes);

        Details__BadRequest *got =
                (Details__BadRequest *)baton_status_detail(status, &details__bad_request__descriptor);
        assert_non_null(got);
        assert_int_equal(got->n_violations, 1);
        assert_string_equal(got->violations[0]->field, "name");
        assert_string_equal(got->violations[0]->description, "is too long");
        details__bad_request__free_unpacked(got, NULL);
        Details__Empty *none = (Details__Empty *)baton_status_detail(status, &details__empty__descriptor);
        assert_non_null(none);
        details__empty__free_unpacked(none, NULL);
        assert_null(baton_status_detail(status, &details__any__descriptor));
        assert_string_equal(baton_error(), "the status carries no detail of type details.Any");
        drop(&carrier);
}

static void nothing(void **state)
{
        (void)state;
        baton_status plain = { .code = BATON_ABORTED, .message = "" };
        size_t size = 7;
        assert_null(baton_status_details(&plain, &size));
        assert_int_equal(size, 0);
        assert_null(baton_status_details(NULL, &size));
        assert_null(baton_status_detail(&plain, &details__any__descriptor));
        assert_null(baton_status_detail(NULL, &details__any__descriptor));
        assert_null(baton_status_detail(&plain, NULL));
}

/* The first `n` bytes of text, read as a status, for a detail of that type. What it finds is freed. */
static bool finds(const void *bytes, size_t size, const ProtobufCMessageDescriptor *type)
{
        struct carrier carrier;
        ProtobufCMessage *detail = baton_status_detail(carry(&carrier, bytes, size), type);
        drop(&carrier);
        if (detail)
                protobuf_c_message_free_unpacked(detail, NULL);
        else
                assert_non_null(strstr(baton_error(), type->name));
        return detail;
}

/* A status with this one detail. Returns its size. */
static size_t status_with(const char *url, const void *value, size_t size, uint8_t *out)
{
        Details__Any any = DETAILS__ANY__INIT, *anys[] = { &any };
        Details__Status status = DETAILS__STATUS__INIT;
        any.type_url = (char *)url;
        any.has_value = true;
        any.value = (ProtobufCBinaryData){ size, (uint8_t *)value };
        status.n_details = 1;
        status.details = anys;
        return details__status__pack(&status, out);
}

static void type_urls(void **state)
{
        (void)state;
        static const char *const right[] = { "type.googleapis.com/details.Empty", "/details.Empty",
                                             "a/b/details.Empty" };
        static const char *const wrong[] = { "details.Empty",    "",
                                             "x/details.Empt",   "x/details.Empty2",
                                             "x/xdetails.Empty", "x/details.Empty/" };
        uint8_t out[256];
        for (size_t i = 0; i < sizeof right / sizeof *right; i++)
                assert_true(finds(out, status_with(right[i], "", 0, out), &details__empty__descriptor));
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_false(finds(out, status_with(wrong[i], "", 0, out), &details__empty__descriptor));
}

static bool detail_is_read(const ProtobufCMessageDescriptor *type, const void *value, size_t size)
{
        char url[64];
        snprintf(url, sizeof url, "x/%s", type->name);
        uint8_t *out = malloc(size + 256);
        bool found = finds(out, status_with(url, value, size, out), type);
        free(out);
        return found;
}

static void bad_details(void **state)
{
        (void)state;
        const ProtobufCMessageDescriptor *type = &details__bad_request__descriptor;
        assert_true(detail_is_read(type, "\x0a\x03\x0a\x01x", 5));
        assert_false(detail_is_read(type, "\x0a\x02\x12\x00", 4));
        assert_non_null(strstr(baton_error(), "required"));
        assert_false(detail_is_read(type, "\x0a\x03\x0a\x01\xff", 5));
        assert_non_null(strstr(baton_error(), "UTF-8"));
        assert_false(detail_is_read(type, "\x0a\x04\x0a\x01x", 5));
        assert_false(detail_is_read(type, "\x0b", 1));
        assert_non_null(strstr(baton_error(), "malformed"));
}

/* count messages, each in the one before. Returns the size. */
static size_t nest(uint8_t *out, int count)
{
        Details__Nested *nested = malloc((size_t)count * sizeof *nested);
        for (int i = 0; i < count; i++) {
                details__nested__init(&nested[i]);
                nested[i].next = i + 1 < count ? &nested[i + 1] : NULL;
        }
        size_t size = details__nested__pack(nested, out);
        free(nested);
        return size;
}

static void deep_details(void **state)
{
        (void)state;
        uint8_t out[4096];
        assert_true(detail_is_read(&details__nested__descriptor, out, nest(out, BATON_MAX_DEPTH)));
        assert_false(detail_is_read(&details__nested__descriptor, out, nest(out, BATON_MAX_DEPTH + 1)));
        assert_non_null(strstr(baton_error(), "deep"));
}

/* Little that would unfold to much. */
static void greedy_details(void **state)
{
        (void)state;
        size_t size = 1 << 18;
        uint8_t *value = malloc(size);
        for (size_t i = 0; i < size; i += 2)
                memcpy(value + i, "\x12", 2); /* an empty Wide */
        assert_true(detail_is_read(&details__nested__descriptor, value, 2000));
        assert_false(detail_is_read(&details__nested__descriptor, value, size));
        assert_non_null(strstr(baton_error(), "memory"));
        free(value);
}

/* Truncated anywhere, or with any byte changed to any other: an answer, and never a step beyond. */
static void scribbled(void **state)
{
        (void)state;
        const ProtobufCMessage *details[] = { &bad_request()->base };
        uint8_t *bytes;
        size_t size;
        assert_int_equal(details_pack(BATON_NOT_FOUND, "no", details, 1, MAX, &bytes, &size), 0);
        assert_true(finds(bytes, size, &details__bad_request__descriptor));
        for (size_t at = 0; at < size; at++) {
                assert_false(finds(bytes, at, &details__bad_request__descriptor));
                uint8_t old = bytes[at];
                for (int c = 0; c < 256; c++) {
                        bytes[at] = (uint8_t)c;
                        finds(bytes, size, &details__bad_request__descriptor);
                }
                bytes[at] = old;
        }
        free(bytes);
}

static void bad_statuses(void **state)
{
        (void)state;
        static const struct {
                const char *bytes;
                size_t size;
        } bad[] = {
                { "\x18\x00", 2 },                                      /* details that are a number */
                { "\x1a\x02\x08\x00", 4 },                              /* a URL that is */
                { "\x1a\x02\x10\x00", 4 },                              /* a value that is */
                { "\x1a\xff\xff\xff\xff\x0f", 6 },                      /* lengths of 4 GiB, */
                { "\x1a\x06\x0a\xff\xff\xff\xff\x0f", 8 },              /* */
                { "\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 }, /* and more */
                { "\x07", 1 },                                          /* no wire type */
                { "\x00", 1 },                                          /* no field number */
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                assert_false(finds(bad[i].bytes, bad[i].size, &details__empty__descriptor));
                assert_non_null(strstr(baton_error(), "malformed"));
        }
        assert_false(finds("", 0, &details__empty__descriptor));
        /* Fields of a later version are passed over. */
        static const char later[] = "\x20\x05\x1a\x15\x22\x02zz\x0a\x0fx/details.Empty";
        assert_true(finds(later, sizeof later - 1, &details__empty__descriptor));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(packs_as_protobuf_does),
                cmocka_unit_test(refuses_to_pack),
                cmocka_unit_test(there_and_back),
                cmocka_unit_test(nothing),
                cmocka_unit_test(type_urls),
                cmocka_unit_test(bad_details),
                cmocka_unit_test(deep_details),
                cmocka_unit_test(greedy_details),
                cmocka_unit_test(scribbled),
                cmocka_unit_test(bad_statuses),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
