/*
 * protoc-gen-idlc: the protoc plugin. Reads a CodeGeneratorRequest on stdin, writes a CodeGeneratorResponse on stdout.
 *
 * Parameters (--idlc_opt): package_prefix, without_structs, protoc_gen_c=PROGRAM; and handback=FD, by which idlc gets
 * the request itself: the plugin writes it to that inherited file, and generates nothing.
 */
#include "compile.h"
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_proto;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse__File response_file;

struct parameters {
        struct compile_options options;
        int handback; /* -1: none */
        const char *unknown;
};

static bool read_all(int fd, struct text *text)
{
        char buffer[64 * 1024];
        for (;;) {
                ssize_t n = read(fd, buffer, sizeof buffer);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n == 0;
                text_append(text, buffer, (size_t)n);
        }
}

static bool write_all(int fd, const void *data, size_t size)
{
        const char *at = data;
        while (size) {
                ssize_t n = write(fd, at, size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                at += n;
                size -= (size_t)n;
        }
        return true;
}

static void parse_parameter(struct parameters *parameters, const char *parameter)
{
        if (strcmp(parameter, "package_prefix") == 0)
                parameters->options.package_prefix = true;
        else if (strcmp(parameter, "without_structs") == 0)
                parameters->options.without_structs = true;
        else if (strncmp(parameter, "protoc_gen_c=", 13) == 0)
                parameters->options.protoc_gen_c = parameter + 13;
        else if (strncmp(parameter, "handback=", 9) == 0)
                parameters->handback = (int)strtol(parameter + 9, NULL, 10);
        else if (*parameter)
                parameters->unknown = parameter;
}

/* The request's comma-separated parameters; text keeps them. */
static struct parameters parse_parameters(char *text)
{
        struct parameters parameters = { .options.protoc_gen_c = "protoc-gen-c", .handback = -1 };
        char *rest = text;
        while (rest)
                parse_parameter(&parameters, strsep(&rest, ","));
        return parameters;
}

static int answer(response_proto *response)
{
        /* Generated code shows a proto3 `optional` field as protobuf-c does, as a oneof of one. */
        response->has_supported_features = 1;
        response->supported_features =
                GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__FEATURE__FEATURE_PROTO3_OPTIONAL;
        size_t size = google__protobuf__compiler__code_generator_response__get_packed_size(response);
        uint8_t *data = xmalloc(size);
        google__protobuf__compiler__code_generator_response__pack(response, data);
        bool written = write_all(STDOUT_FILENO, data, size);
        free(data);
        if (!written)
                fprintf(stderr, "protoc-gen-idlc: cannot write the response: %s\n", strerror(errno));
        return written ? 0 : 1;
}

static int answer_error(const char *error)
{
        response_proto response = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
        response.error = (char *)error;
        return answer(&response);
}

static int answer_files(const struct compilation *compilation)
{
        response_proto response = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
        response_file *files = xmalloc(compilation->n_outputs * sizeof *files);
        response_file **pointers = xmalloc(compilation->n_outputs * sizeof *pointers);
        for (size_t i = 0; i < compilation->n_outputs; i++) {
                google__protobuf__compiler__code_generator_response__file__init(&files[i]);
                files[i].name = (char *)compilation->outputs[i].name;
                files[i].content = (char *)compilation->outputs[i].data;
                pointers[i] = &files[i];
        }
        response.n_file = compilation->n_outputs;
        response.file = pointers;
        int r = answer(&response);
        free(pointers);
        free(files);
        return r;
}

/* protoc prints "--idlc_out: " before the error: the complaints begin on a line of their own. */
static int answer_errors(const struct compilation *compilation)
{
        struct text text = { 0 };
        text_printf(&text, "%zu error%s\n%.*s", compilation->n_errors, compilation->n_errors == 1 ? "" : "s",
                    (int)compilation->errors.size - 1, compilation->errors.data);
        int r = answer_error(text.data);
        text_free(&text);
        return r;
}

static int generate(const request_proto *request, const struct compile_options *options)
{
        struct compilation compilation;
        int r = compile(&compilation, request, options) < 0 ? answer_errors(&compilation) : answer_files(&compilation);
        compile_deinit(&compilation);
        return r;
}

static int hand_back(int fd, const struct text *input)
{
        response_proto response = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__INIT;
        if (write_all(fd, input->data, input->size))
                return answer(&response);
        fprintf(stderr, "protoc-gen-idlc: cannot hand the request back to idlc: %s\n", strerror(errno));
        return 1;
}

static int run(const struct text *input)
{
        const char *error;
        request_proto *request = request_unpack((const uint8_t *)input->data, input->size, &error);
        if (!request)
                return answer_error(error);
        char *text = strdup(request->parameter ? request->parameter : "");
        struct parameters parameters = parse_parameters(text);
        int r;
        if (parameters.unknown)
                r = answer_error("unknown option: know package_prefix, without_structs, protoc_gen_c=PROGRAM");
        else if (parameters.handback >= 0)
                r = hand_back(parameters.handback, input);
        else
                r = generate(request, &parameters.options);
        free(text);
        request_free(request);
        return r;
}

int main(int argc, char **argv)
{
        if (argc > 1) {
                bool version = strcmp(argv[1], "--version") == 0;
                puts(version ? "protoc-gen-idlc " IDLC_VERSION
                             : "protoc-gen-idlc is run by protoc: protoc --idlc_out=DIR FILE.proto. See idlc(1).");
                return version || strcmp(argv[1], "--help") == 0 ? 0 : 1;
        }
        struct text input = { 0 };
        if (!read_all(STDIN_FILENO, &input)) {
                fprintf(stderr, "protoc-gen-idlc: cannot read the request from stdin: %s\n", strerror(errno));
                return 1;
        }
        int r = run(&input);
        text_free(&input);
        return r;
}
