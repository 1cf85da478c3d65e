/* The reason of this thread's last failure, and the log. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <baton/status.h>

/* Records the text behind baton_error() and returns code (a negative errno), so that callers can return it. */
int error_set(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sends one line to the log callback, if there is one. */
void log_line(baton_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
