/* grpc.reflection.v1.ServerReflection, and the same as v1alpha: see baton/reflection.h. */
#include "grpc/reflection/v1/reflection.baton.h"
#include "grpc/reflection/v1alpha/reflection.baton.h"
#include "standard.h"
#include <baton/reflection.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;

/* One stream, in the scratch memory of its call, which it holds. */
struct asker {
        const baton_server *server;
        const request_message *question; /* not answered yet; NULL: none */
};

/* An answer and what it consists of. It lives until it was sent. */
struct answer {
        response_message message;
        struct baton_standard_files files; /* of the server */
        struct baton_standard_files told;
        Grpc__Reflection__V1__FileDescriptorResponse file;
        Grpc__Reflection__V1__ExtensionNumberResponse numbers;
        Grpc__Reflection__V1__ListServiceResponse services;
        Grpc__Reflection__V1__ErrorResponse error;
        void *list; /* of one of these */
        char text[320];
};

static const char unknown_question[] = "the request has no question that is known here";

/* ---- answers ---------------------------------------------------------------------------------------------- */

/* name: what was asked for; "": nothing. */
static void refuse(struct answer *answer, baton_code code, const char *name, const char *why)
{
        int length = (int)strnlen(name, 200);
        while (name[length] && length > 0 && (name[length] & 0xC0) == 0x80) /* inside a character of UTF-8 */
                length--;
        snprintf(answer->text, sizeof answer->text, "%.*s%s%s", length, name, *name ? ": " : "", why);
        grpc__reflection__v1__error_response__init(&answer->error);
        answer->error.error_code = code;
        answer->error.error_message = answer->text;
        answer->message.message_response_case =
                GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
        answer->message.error_response = &answer->error;
}

/* The file with its imports. 0 or -ENOMEM. */
static int tell_file(struct answer *answer, const baton_file *file)
{
        if (baton_standard_files_from(file, &answer->told) < 0)
                return -ENOMEM;
        ProtobufCBinaryData *list = answer->list = calloc(answer->told.n, sizeof *list);
        if (!list)
                return baton_error_set(-ENOMEM, "out of memory for a list of .proto files");
        for (size_t i = 0; i < answer->told.n; i++) {
                list[i].len = answer->told.list[i]->descriptor_size;
                list[i].data = (uint8_t *)answer->told.list[i]->descriptor;
        }
        grpc__reflection__v1__file_descriptor_response__init(&answer->file);
        answer->file.n_file_descriptor_proto = answer->told.n;
        answer->file.file_descriptor_proto = list;
        answer->message.message_response_case =
                GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
        answer->message.file_descriptor_response = &answer->file;
        return 0;
}

static int tell_file_named(struct answer *answer, const char *name)
{
        const baton_file *file = baton_standard_file_named(&answer->files, name);
        if (file)
                return tell_file(answer, file);
        refuse(answer, BATON_NOT_FOUND, name, "no service here is defined by this file, or by one that imports it");
        return 0;
}

static int tell_file_declaring(struct answer *answer, const char *symbol)
{
        const baton_file *file = baton_standard_file_declaring(&answer->files, symbol, false);
        if (file)
                return tell_file(answer, file);
        refuse(answer, BATON_NOT_FOUND, symbol, "not declared in the files that define the services here");
        return 0;
}

static bool is_another(int32_t number, void *wanted)
{
        return number != *(const int32_t *)wanted;
}

static int tell_file_extending(struct answer *answer, const Grpc__Reflection__V1__ExtensionRequest *wanted)
{
        if (!wanted) { /* a client can send the oneof's number alone */
                refuse(answer, BATON_UNIMPLEMENTED, "", unknown_question);
                return 0;
        }
        int32_t number = wanted->extension_number;
        const baton_file *file =
                baton_standard_extensions(&answer->files, wanted->containing_type, is_another, &number);
        if (file)
                return tell_file(answer, file);
        refuse(answer, BATON_NOT_FOUND, wanted->containing_type,
               "no extension with this number is in the files that define the services here");
        return 0;
}

/* Appends to the list, which has room for a power of two. False: out of memory. */
static bool add_number(int32_t number, void *context)
{
        struct answer *answer = context;
        size_t n = answer->numbers.n_extension_number;
        if (!(n & (n - 1))) {
                int32_t *list = realloc(answer->list, (n ? 2 * n : 1) * sizeof *list);
                if (!list)
                        return false;
                answer->list = answer->numbers.extension_number = list;
        }
        answer->numbers.extension_number[answer->numbers.n_extension_number++] = number;
        return true;
}

static int tell_numbers(struct answer *answer, char *type)
{
        if (!baton_standard_file_declaring(&answer->files, type, true)) {
                refuse(answer, BATON_NOT_FOUND, type, "no such message is in the files that define the services here");
                return 0;
        }
        grpc__reflection__v1__extension_number_response__init(&answer->numbers);
        answer->numbers.base_type_name = type;
        if (baton_standard_extensions(&answer->files, type, add_number, answer))
                return baton_error_set(-ENOMEM, "out of memory for a list of extensions");
        answer->message.message_response_case =
                GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
        answer->message.all_extension_numbers_response = &answer->numbers;
        return 0;
}

static int tell_services(struct answer *answer, const baton_server *server)
{
        typedef Grpc__Reflection__V1__ServiceResponse response;
        size_t n = baton_server_services(server, NULL, 0);
        /* one block: the messages, pointers to them, and what they are made of */
        response *messages = answer->list = calloc(n + 1, sizeof *messages + 2 * sizeof(void *));
        if (!messages)
                return baton_error_set(-ENOMEM, "out of memory for a list of services");
        response **pointers = (response **)(messages + n);
        const baton_service **services = (const baton_service **)(pointers + n);
        n = baton_server_services(server, services, n);
        for (size_t i = 0; i < n; i++) {
                grpc__reflection__v1__service_response__init(&messages[i]);
                messages[i].name = (char *)services[i]->name;
                pointers[i] = &messages[i];
        }
        grpc__reflection__v1__list_service_response__init(&answer->services);
        answer->services.n_service = n;
        answer->services.service = pointers;
        answer->message.message_response_case =
                GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
        answer->message.list_services_response = &answer->services;
        return 0;
}

static int answer_question(struct answer *answer, const struct asker *asker)
{
        const request_message *question = asker->question;
        if (baton_standard_files_of_server(asker->server, &answer->files) < 0)
                return -ENOMEM;
        switch (question->message_request_case) {
        case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
                return tell_file_named(answer, question->file_by_filename);
        case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
                return tell_file_declaring(answer, question->file_containing_symbol);
        case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
                return tell_file_extending(answer, question->file_containing_extension);
        case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
                return tell_numbers(answer, question->all_extension_numbers_of_type);
        case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
                return tell_services(answer, asker->server);
        default: /* none, or one of a later version */
                refuse(answer, BATON_UNIMPLEMENTED, "", unknown_question);
                return 0;
        }
}

/* As baton_call_send. */
static int answer_asker(baton_call *call, const struct asker *asker)
{
        struct answer answer = { .message = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT };
        answer.message.valid_host = asker->question->host;
        answer.message.original_request = (request_message *)asker->question;
        int error = answer_question(&answer, asker);
        if (!error)
                error = baton_call_send(call, &answer.message.base);
        baton_standard_files_free(&answer.files);
        baton_standard_files_free(&answer.told);
        free(answer.list);
        return error;
}

/* ---- streams ---------------------------------------------------------------------------------------------- */

/* The next step. 1: there may be another; 0: all is answered; -EAGAIN; or another error, with which the stream ends. A question is
 * valid until the next is received, so an answer that finds no room is made anew later. */
static int go_on(baton_call *call, struct asker *asker)
{
        const ProtobufCMessage *message;
        if (!asker->question) {
                int n = baton_call_recv(call, &message);
                if (n <= 0)
                        return n;
                asker->question = (const request_message *)message;
        }
        int error = answer_asker(call, asker);
        if (error)
                return error == -EBADMSG ? -EPROTO : error; /* unlike recv's, send's has not ended the call */
        asker->question = NULL;
        return 1;
}

static void serve(baton_call *call, void *context)
{
        struct asker *asker = context;
        int step;
        do
                step = go_on(call, asker);
        while (step > 0);
        if (step == -EAGAIN)
                return;
        if (step == 0)
                baton_call_end(call);
        else
                baton_standard_end(call, step);
        baton_call_release(call);
}

static void begin(baton_call *call, void *context)
{
        struct asker *asker = baton_call_scratch(call, sizeof *asker);
        if (!asker) {
                baton_call_fail(call, BATON_RESOURCE_EXHAUSTED, "%s", baton_error());
                return;
        }
        asker->server = context;
        baton_call_on_ready(baton_call_retain(call), serve, asker);
}

/* ---- public ----------------------------------------------------------------------------------------------- */

static bool dispatch_older(const void *handlers, void *context, baton_call *call, const ProtobufCMessage *request)
{
        (void)handlers, (void)request;
        begin(call, context);
        return true;
}

/* v1alpha has the same messages under other names: it is served with those of v1, which look alike however they travel. */
static const baton_method older_method = {
        .path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        .flags = BATON_CLIENT_STREAMING | BATON_SERVER_STREAMING,
        .input = &grpc__reflection__v1__server_reflection_request__type,
        .output = &grpc__reflection__v1__server_reflection_response__type,
        .dispatch = dispatch_older,
};

static const baton_service older = {
        .name = "grpc.reflection.v1alpha.ServerReflection",
        .n_methods = 1,
        .methods = &older_method,
        .file = &idl_grpc_2freflection_2fv1alpha_2freflection__file,
};

int baton_reflection_register(baton_server *server)
{
        static const grpc_reflection_v1_server_reflection_handlers handlers = { .server_reflection_info = begin };
        int error = grpc_reflection_v1_server_reflection_register(server, &handlers, server);
        return error < 0 ? error : baton_server_register(server, &older, &handlers, server);
}
