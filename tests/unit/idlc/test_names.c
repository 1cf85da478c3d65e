#include "comment.h"
#include "names.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct arena arena;

static int free_arena(void **state)
{
        (void)state;
        arena_free(&arena);
        return 0;
}

static void services_and_methods_are_snake_case(void **state)
{
        (void)state;
        assert_string_equal(name_snake(&arena, "SayHello"), "say_hello");
        assert_string_equal(name_snake(&arena, "HTTPGet"), "http_get");
        assert_string_equal(name_snake(&arena, "GetHTTP"), "get_http");
        assert_string_equal(name_snake(&arena, "GetV2Beta"), "get_v2_beta");
        assert_string_equal(name_snake(&arena, "already_snake"), "already_snake");
        assert_string_equal(name_snake(&arena, "_Odd__Name_"), "odd_name");
        assert_string_equal(name_snake(&arena, "demo.v1.API"), "demo_v1_api");
        assert_string_equal(name_snake(&arena, "X"), "x");
        assert_string_equal(name_snake(&arena, "__"), "");
}

static void types_and_fields_are_as_protobuf_c_has_them(void **state)
{
        (void)state;
        assert_string_equal(name_full_to_c(&arena, "demo.say_it.HTTPRequest"), "Demo__SayIt__HTTPRequest");
        assert_string_equal(name_full_to_lower(&arena, "demo.say_it.HTTPRequest"), "demo__say_it__httprequest");
        assert_string_equal(name_full_to_upper(&arena, "demo.say_it.FooBar"), "DEMO__SAY_IT__FOO_BAR");
        assert_string_equal(name_field(&arena, "fooBar"), "foobar");
        assert_string_equal(name_field(&arena, "Class"), "class_");
        assert_string_equal(name_field(&arena, "restrict"), "restrict");
        assert_true(name_is_reserved("restrict"));
        assert_true(name_is_reserved("delete"));
        assert_false(name_is_reserved("remove"));
}

static void identifiers_never_meet(void **state)
{
        (void)state;
        assert_string_equal(name_identifier(&arena, "a/b-c"), "a_2fb_2dc");
        assert_string_equal(name_identifier(&arena, "a_b"), "a_5fb");
        assert_string_equal(name_stem(&arena, "dir/x.proto"), "dir/x");
        assert_string_equal(name_stem(&arena, "x.protodevel"), "x");
        assert_string_equal(name_stem(&arena, "x.txt"), "x.txt");
}

static void comments_cannot_break_out(void **state)
{
        (void)state;
        assert_string_equal(comment_clean(&arena, " a */ b /* c"), " a * / b / * c");
        assert_string_equal(comment_clean(&arena, "*/*/"), "* / * /");
        assert_string_equal(comment_clean(&arena, "what?"
                                                  "?/\n"),
                            "what? ?/\n");
        assert_string_equal(comment_clean(&arena, "end\\\nnext\\"), "end\\.\nnext\\.");
        assert_string_equal(comment_clean(&arena, "a\rb\x01\tc"), "ab\tc");
        assert_string_equal(comment_clean(&arena, "x\xe2\x80\xaey\xe2\x81\xa6z"), "xyz");
        assert_string_equal(comment_clean(&arena, "caf\xe9 grün \xe2\x80"), "caf? grün ??");
        assert_null(comment_clean(&arena, NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(services_and_methods_are_snake_case),
                cmocka_unit_test(types_and_fields_are_as_protobuf_c_has_them),
                cmocka_unit_test(identifiers_never_meet),
                cmocka_unit_test(comments_cannot_break_out),
        };
        return cmocka_run_group_tests(tests, NULL, free_arena);
}
