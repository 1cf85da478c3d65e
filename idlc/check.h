/* What protobuf-c, C or C++ cannot express is refused here, before anything is generated. */
#ifndef IDLC_CHECK_H
#define IDLC_CHECK_H

#include "model.h"

/* Complaints in the order they were found, one line each: "file:line: message". */
struct complaints {
        struct text text;
        size_t n;
};

void complain(struct complaints *complaints, const struct file *file, const struct location *at, const char *format,
              ...) __attribute__((format(printf, 4, 5)));

/* Says how many complaints were left out, where there were too many to read. */
void complaints_end(struct complaints *complaints);

/* Options and features of the files to generate. */
void check_features(const struct model *model, struct complaints *complaints);

/* Names: keywords, and two things that would get the same C name. */
void check_names(const struct model *model, struct complaints *complaints);

#endif
