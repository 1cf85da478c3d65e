/* How an example program ends when something failed. */
#ifndef EXAMPLES_REPORT_H
#define EXAMPLES_REPORT_H

#include <baton/status.h>

/* Prints "program: message" to stderr and exits with status 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program when the call failed, with "program: what: STATUS_NAME: message"; returns when it succeeded. */
void die_unless_ok(baton_status status, const char *what);

/* value as a decimal number from minimum to maximum; ends the program when it is anything else. */
unsigned parse_number(const char *option, const char *value, unsigned minimum, unsigned maximum);

#endif
