#include <baton/metadata.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void find(void **state)
{
        (void)state;
        baton_metadata_entry entries[] = { baton_text("a", "1"), baton_text("key", "2"), baton_text("key", "3") };
        baton_metadata metadata = { 3, entries };
        assert_ptr_equal(baton_metadata_find(&metadata, "key"), &entries[1]);
        assert_string_equal(baton_metadata_text(&metadata, "key"), "2");
        assert_null(baton_metadata_find(&metadata, "ke"));
        assert_null(baton_metadata_text(&metadata, "keys"));
}

static void nothing(void **state)
{
        (void)state;
        baton_metadata none = { 0 };
        assert_null(baton_metadata_find(NULL, "key"));
        assert_null(baton_metadata_text(NULL, "key"));
        assert_null(baton_metadata_find(&none, "key"));
        assert_null(baton_metadata_find(&none, NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(find), cmocka_unit_test(nothing) };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
