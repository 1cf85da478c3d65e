/* What changes a layout hash, and what does not. */
#include "codec/layout.h"
#include "kinds2.pb-c.h"
#include "kinds3.pb-c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A changeable copy of Kinds2.All. */
struct copy {
        ProtobufCMessageDescriptor descriptor;
        ProtobufCFieldDescriptor fields[64];
};

static const ProtobufCMessageDescriptor *original = &kinds2__all__descriptor;

static struct copy *copy_all(void)
{
        static struct copy copy;
        assert_true(original->n_fields <= 64);
        copy.descriptor = *original;
        memcpy(copy.fields, original->fields, original->n_fields * sizeof *copy.fields);
        copy.descriptor.fields = copy.fields;
        for (unsigned i = 0; i < original->n_fields; i++)
                if (copy.fields[i].descriptor == original)
                        copy.fields[i].descriptor = &copy.descriptor;
        return &copy;
}

static ProtobufCFieldDescriptor *field(struct copy *copy, const char *name)
{
        for (unsigned i = 0; i < copy->descriptor.n_fields; i++)
                if (strcmp(copy->fields[i].name, name) == 0)
                        return &copy->fields[i];
        fail_msg("no field %s", name);
        return NULL;
}

static void equal_schemas_are_equal(void **state)
{
        (void)state;
        uint64_t hash = layout_hash(original);
        assert_true(hash);
        assert_true(hash == layout_hash(original));
        struct copy *copy = copy_all();
        assert_true(hash == layout_hash(&copy->descriptor));
        /* Names, packing and deprecation do not show in memory. */
        copy->descriptor.name = "other.Name";
        copy->fields[3].name = "renamed";
        copy->fields[4].flags |= PROTOBUF_C_FIELD_FLAG_DEPRECATED;
        field(copy, "p_int32")->flags &= ~(unsigned)PROTOBUF_C_FIELD_FLAG_PACKED;
        assert_true(hash == layout_hash(&copy->descriptor));
        assert_true(layout_hash(&kinds3__all__descriptor) != layout_hash(&kinds3__leaf__descriptor));
}

static void every_difference_shows(void **state)
{
        (void)state;
        uint64_t hash = layout_hash(original);
        static const ProtobufCBinaryData other_bytes = { 5, (uint8_t *)"by\0tf" };
        static const int32_t other_number = -43;
        for (int change = 0; change < 11; change++) {
                struct copy *copy = copy_all();
                switch (change) {
                case 0:
                        copy->fields[1].id++;
                        break;
                case 1:
                        copy->fields[1].type = PROTOBUF_C_TYPE_INT32;
                        break;
                case 2:
                        copy->fields[1].label = PROTOBUF_C_LABEL_REQUIRED;
                        break;
                case 3:
                        copy->fields[1].offset += 4;
                        break;
                case 4:
                        copy->fields[1].quantifier_offset += 4;
                        break;
                case 5:
                        field(copy, "c_bool")->flags = 0;
                        break;
                case 6:
                        copy->descriptor.sizeof_message += 8;
                        break;
                case 7:
                        copy->descriptor.n_fields--;
                        break;
                case 8:
                        field(copy, "d_string")->default_value = "defaulu";
                        break;
                case 9:
                        field(copy, "d_bytes")->default_value = &other_bytes;
                        break;
                default:
                        field(copy, "d_int32")->default_value = &other_number;
                }
                if (layout_hash(&copy->descriptor) == hash)
                        fail_msg("change %d does not show", change);
        }
}

static void differences_show_through_sub_messages(void **state)
{
        (void)state;
        uint64_t hash = layout_hash(original);
        ProtobufCMessageDescriptor needed = kinds2__needed__descriptor;
        struct copy *copy = copy_all();
        needed.sizeof_message += 8;
        field(copy, "o_message")->descriptor = &needed;
        assert_true(layout_hash(&copy->descriptor) != hash);
        /* The type that a field refers to, even if both are there anyway. */
        copy = copy_all();
        field(copy, "child")->descriptor = &kinds2__needed__descriptor;
        assert_true(layout_hash(&copy->descriptor) != hash);
}

/* 5,000 types, each referring to 20 others: recursion all over. */
static void large_schemas_take_linear_time(void **state)
{
        (void)state;
        enum {
                TYPES = 5000,
                FIELDS = 20,
        };
        ProtobufCMessageDescriptor *types = calloc(TYPES, sizeof *types);
        ProtobufCFieldDescriptor *fields = calloc((size_t)TYPES * FIELDS, sizeof *fields);
        for (size_t i = 0; i < TYPES; i++) {
                types[i] = kinds3__chain__descriptor;
                types[i].n_fields = FIELDS;
                types[i].fields = fields + i * FIELDS;
                for (size_t k = 0; k < FIELDS; k++) {
                        fields[i * FIELDS + k] = kinds3__chain__descriptor.fields[0];
                        fields[i * FIELDS + k].id = (uint32_t)k + 1;
                        fields[i * FIELDS + k].descriptor = &types[(i * 7 + k * 131 + 1) % TYPES];
                }
        }
        clock_t start = clock();
        uint64_t hash = layout_hash(&types[0]);
        double took = (double)(clock() - start) / CLOCKS_PER_SEC;
        assert_true(hash && hash == layout_hash(&types[0]));
        assert_true(took < 2); /* 0.02 s without sanitizers */
        free(types);
        free(fields);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equal_schemas_are_equal),
                cmocka_unit_test(every_difference_shows),
                cmocka_unit_test(differences_show_through_sub_messages),
                cmocka_unit_test(large_schemas_take_linear_time),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
