#include "compare.h"
#include "codec/field.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect(bool same, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, const char *what)
{
        if (!same)
                fail_msg("%s.%s: %s differs", message->descriptor->name, field ? field->name : "(unknown fields)",
                         what);
}

static bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
        return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

static const char *text_of(const void *value, const ProtobufCFieldDescriptor *field)
{
        const char *text = *(const char *const *)value;
        return text ? text : field->default_value;
}

static bool same_text(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

static void compare_value(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, const void *a,
                          const void *b)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                expect(same_text(text_of(a, field), text_of(b, field)), message, field, "text");
                return;
        case PROTOBUF_C_TYPE_BYTES:
                expect(same_bytes(a, b), message, field, "data");
                return;
        case PROTOBUF_C_TYPE_MESSAGE: {
                const ProtobufCMessage *x = *(const ProtobufCMessage *const *)a;
                const ProtobufCMessage *y = *(const ProtobufCMessage *const *)b;
                expect(!x == !y, message, field, "presence");
                if (x && y)
                        assert_same_message(x, y);
                return;
        }
        default:
                expect(memcmp(a, b, field_element_size(field->type)) == 0, message, field, "value");
        }
}

static void compare_repeated(const ProtobufCMessage *a, const ProtobufCMessage *b,
                             const ProtobufCFieldDescriptor *field)
{
        size_t n = field_count(a, field);
        size_t size = field_element_size(field->type);
        const uint8_t *x = field_pointer(a, field);
        const uint8_t *y = field_pointer(b, field);
        expect(n == field_count(b, field), a, field, "count");
        for (size_t i = 0; i < n; i++)
                compare_value(a, field, x + i * size, y + i * size);
}

static void compare_field(const ProtobufCMessage *a, const ProtobufCMessage *b, const ProtobufCFieldDescriptor *field)
{
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                compare_repeated(a, b, field);
                return;
        }
        if (field_in_oneof(field)) {
                expect(field_case(a, field) == field_case(b, field), a, field, "case");
                if (field_case(a, field) != field->id)
                        return;
        }
        if (field_has_quantifier(field)) {
                expect(field_has(a, field) == field_has(b, field), a, field, "has");
                if (!field_has(a, field))
                        return;
        }
        compare_value(a, field, field_of(a, field->offset), field_of(b, field->offset));
}

void assert_same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
        assert_non_null(a);
        assert_non_null(b);
        assert_ptr_equal(a->descriptor, b->descriptor);
        for (unsigned i = 0; i < a->descriptor->n_fields; i++)
                compare_field(a, b, &a->descriptor->fields[i]);
        expect(a->n_unknown_fields == b->n_unknown_fields, a, NULL, "count");
        for (unsigned i = 0; i < a->n_unknown_fields; i++) {
                const ProtobufCMessageUnknownField *x = &a->unknown_fields[i];
                const ProtobufCMessageUnknownField *y = &b->unknown_fields[i];
                bool same = x->tag == y->tag && x->wire_type == y->wire_type && x->len == y->len &&
                            memcmp(x->data, y->data, x->len) == 0;
                expect(same, a, NULL, "one");
        }
}
