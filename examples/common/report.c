#include "common/report.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void die(const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        fprintf(stderr, "%s: ", program_invocation_short_name);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        va_end(arguments);
        exit(1);
}

void die_unless_ok(baton_status status, const char *what)
{
        if (status.code != BATON_OK)
                die("%s: %s: %s", what, baton_code_name(status.code), status.message);
}

unsigned parse_number(const char *option, const char *value, unsigned minimum, unsigned maximum)
{
        char *end;
        errno = 0;
        long number = strtol(value, &end, 10);
        if (errno || end == value || *end || number < (long)minimum || number > (long)maximum)
                die("%s %s: give a number from %u to %u", option, value, minimum, maximum);
        return (unsigned)number;
}
