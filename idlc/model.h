/*
 * A CodeGeneratorRequest as the checks and the emitters want it: names resolved, C names made, options and source lines
 * looked up. Everything lives in the compilation's arena or in the unpacked request.
 */
#ifndef IDLC_MODEL_H
#define IDLC_MODEL_H

#include "memory.h"
#include <google/protobuf/compiler/plugin.pb-c.h>

typedef Google__Protobuf__Compiler__CodeGeneratorRequest request_proto;
typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__FieldDescriptorProto field_proto;
typedef Google__Protobuf__EnumDescriptorProto enum_proto;
typedef Google__Protobuf__ServiceDescriptorProto service_proto;
typedef Google__Protobuf__MethodDescriptorProto method_proto;

/* Where something stands in its .proto, and the comments there. line is 0, comments NULL, where unknown. */
struct location {
        int line;
        const char *leading;
        const char *trailing;
};

/* protobuf-c's own options, (pb_c_file), (pb_c_msg) and (pb_c_field), as far as they change what we do. */
struct file_options {
        bool no_generate;
        bool gen_init_helpers;
        bool const_strings;
        bool use_oneof_field_name;
        const char *c_package; /* NULL: none */
};

struct message_options {
        bool gen_init_helpers;
        const char *base_field_name;
};

enum field_kind { KIND_SCALAR, KIND_STRING, KIND_BYTES, KIND_MESSAGE };
enum field_label {
        LABEL_REQUIRED,
        LABEL_OPTIONAL, /* proto2: scalars and bytes have a has_ member */
        LABEL_PLAIN,    /* proto3 without label: no presence, except for messages */
        LABEL_REPEATED,
        LABEL_MEMBER, /* of a oneof */
};

struct field {
        const field_proto *proto;
        struct message *message;
        struct oneof *oneof; /* NULL: none */
        enum field_kind kind;
        enum field_label label;
        const char *c_name;        /* of the struct's member */
        const char *c_type;        /* of one value, without a trailing space: "int32_t", "char *", "Demo__Color" */
        const char *default_value; /* what an unset string or bytes field restores to, as a C expression; or "NULL" */
        bool has_default;          /* stated in the .proto */
        int index;                 /* in message->sorted and in the descriptor's fields array */
        struct message *type;      /* KIND_MESSAGE */
        struct enumeration *enumeration; /* NULL: not an enum */
        const char *constant;            /* in a oneof: what selects it, "DEMO__MESSAGE__KIND_TEXT" */
        struct field *next_member;       /* of the same oneof, by number */
        struct location at;
};

struct oneof {
        const Google__Protobuf__OneofDescriptorProto *proto;
        const char *case_member; /* "kind_case" */
        const char *case_type;   /* "Demo__Message__KindCase" */
        const char *constants;   /* "DEMO__MESSAGE__KIND": append _FIELD or __NOT_SET */
        bool synthetic;          /* stands for a proto3 `optional` field */
        struct field *first;     /* by number */
        struct field *last;
        struct location at;
};

struct message {
        const message_proto *proto;
        struct file *file;
        const char *full_name; /* "demo.Message", without leading dot */
        const char *c_name;    /* "Demo__Message" */
        const char *lower;     /* "demo__message" */
        const char *upper;     /* "DEMO__MESSAGE" */
        struct message_options options;
        struct field *fields; /* in the order of the .proto */
        size_t n_fields;
        struct field **sorted; /* by number, as in the descriptor */
        struct oneof *oneofs;
        size_t n_oneofs;
        const int *path; /* in the file's descriptor, for source locations */
        size_t path_length;
        struct location at;
};

struct enumeration {
        const enum_proto *proto;
        struct file *file;
        const char *full_name;
        const char *c_name;
        const char *lower;
        const char *upper;
        struct location at;
};

/* Bits, so that they can be or-ed. */
enum method_kind {
        METHOD_UNARY = 1,
        METHOD_CLIENT_STREAMING = 2,
        METHOD_SERVER_STREAMING = 4,
        METHOD_BIDIRECTIONAL = 8,
};

struct method {
        const method_proto *proto;
        struct service *service;
        const char *snake; /* "say_hello" */
        const char *slot;  /* the member of the table of handlers */
        const char *stem;  /* "greeter_say_hello" */
        struct message *input;
        struct message *output;
        enum method_kind kind;
        struct location at;
};

struct service {
        const service_proto *proto;
        struct file *file;
        const char *full_name; /* "demo.Greeter" */
        const char *stem;      /* "greeter" */
        struct method *methods;
        size_t n_methods;
        struct location at;
};

struct file {
        const file_proto *proto;
        const char *name;
        const char *stem;       /* name without .proto */
        const char *descriptor; /* its baton_file in C */
        const char *package;
        bool proto3;
        bool generate; /* output was asked for */
        struct file_options options;
        struct file **imports;
        size_t n_imports;
        struct message *messages; /* nested ones too: outer before inner */
        size_t n_messages;
        struct enumeration *enums;
        size_t n_enums;
        struct service *services;
        size_t n_services;
        struct source *source;
};

struct model {
        struct arena *arena;
        const request_proto *request;
        struct file *files; /* imported ones before those that import them */
        size_t n_files;
        struct file **targets; /* those to generate, in the order asked for */
        size_t n_targets;
        struct map files_by_name;
        struct map messages; /* full name -> struct message */
        struct map enums;
        const char *error; /* why model_read failed */
};

/* Whether the struct has a has_ member for the field. */
bool field_has_presence(const struct field *field);

/* Whether NULL in the struct means that something is missing: the field is required, or its oneof selects it. */
bool field_needs_pointer(const struct field *field);

/* Whether the method takes any number of requests. */
bool method_streams_in(const struct method *method);

/* Reads the whole request. False, with model->error set, where it contradicts itself: protoc sends no such request. */
bool model_read(struct model *model, struct arena *arena, const request_proto *request);
void model_deinit(struct model *model);

/* Gives all services of files to generate, and their methods, C names. With package_prefix, or where two services or a
 * system library would share names, they start with the package. */
void model_name_services(struct model *model, bool package_prefix);

#endif
