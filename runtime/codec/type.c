#include "codec/type.h"
#include <string.h>

bool type_same(const ProtobufCMessageDescriptor *a, const ProtobufCMessageDescriptor *b)
{
        return a && b && a->magic == b->magic && a->sizeof_message == b->sizeof_message && a->n_fields == b->n_fields &&
               strcmp(a->name, b->name) == 0;
}
