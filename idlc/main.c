/* idlc: the command that a build calls. */
#include "driver.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
        "Usage: idlc [-I DIR]... --out DIR FILE.proto...\n"
        "\n"
        "Generates, for each FILE.proto, the message structs (FILE.pb-c.h, FILE.pb-c.c) and the services' stubs and\n"
        "tables (FILE.baton.h, FILE.baton.c).\n"
        "\n"
        "  -I, --proto_path=DIR    look for files and imports here; several are searched in order (default: .)\n"
        "      --out=DIR           write below this directory; made where missing\n"
        "      --dependency-file=FILE\n"
        "                          also write a rule for make or ninja, naming all files that were read\n"
        "      --package-prefix    begin the names of functions with the .proto's package\n"
        "      --without-structs   leave out FILE.pb-c.h and FILE.pb-c.c\n"
        "      --protoc=PROGRAM    (default: protoc)\n"
        "      --protoc-gen-c=PROGRAM\n"
        "                          (default: protoc-gen-c)\n"
        "      --help, --version\n"
        "\n"
        "Exit status: 0, or 1 after messages on stderr (FILE:LINE: MESSAGE where they concern a file).\n";

enum {
        OPTION_OUT = 256,
        OPTION_DEPFILE,
        OPTION_PREFIX,
        OPTION_BARE,
        OPTION_PROTOC,
        OPTION_GEN_C,
        OPTION_HELP,
        OPTION_VERSION
};

static const struct option long_options[] = {
        { "proto_path", required_argument, NULL, 'I' },
        { "out", required_argument, NULL, OPTION_OUT },
        { "dependency-file", required_argument, NULL, OPTION_DEPFILE },
        { "package-prefix", no_argument, NULL, OPTION_PREFIX },
        { "without-structs", no_argument, NULL, OPTION_BARE },
        { "protoc", required_argument, NULL, OPTION_PROTOC },
        { "protoc-gen-c", required_argument, NULL, OPTION_GEN_C },
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
        { 0 },
};

/* -1: go on; else the exit status. */
static int parse_option(struct driver_options *options, int option, const char *argument)
{
        switch (option) {
        case 'I':
                options->import_dirs[options->n_import_dirs++] = argument;
                return -1;
        case OPTION_OUT:
                options->out = argument;
                return -1;
        case OPTION_DEPFILE:
                options->dependency_file = argument;
                return -1;
        case OPTION_PREFIX:
                options->compile.package_prefix = true;
                return -1;
        case OPTION_BARE:
                options->compile.without_structs = true;
                return -1;
        case OPTION_PROTOC:
                options->protoc = argument;
                return -1;
        case OPTION_GEN_C:
                options->compile.protoc_gen_c = argument;
                return -1;
        case OPTION_HELP:
                fputs(usage, stdout);
                return 0;
        case OPTION_VERSION:
                puts("idlc " IDLC_VERSION);
                return 0;
        default:
                fputs("Try idlc --help.\n", stderr);
                return 1;
        }
}

static int parse_arguments(struct driver_options *options, int argc, char **argv)
{
        int option;
        while ((option = getopt_long(argc, argv, "I:", long_options, NULL)) >= 0) {
                int status = parse_option(options, option, optarg);
                if (status >= 0)
                        return status;
        }
        for (int i = optind; i < argc; i++)
                options->protos[options->n_protos++] = argv[i];
        if (!options->n_import_dirs)
                options->import_dirs[options->n_import_dirs++] = ".";
        if (options->out && options->n_protos)
                return -1;
        fprintf(stderr, "idlc: %s. Try idlc --help.\n",
                options->out ? "no .proto given" : "no output directory: say --out DIR");
        return 1;
}

int main(int argc, char **argv)
{
        struct driver_options options = {
                .import_dirs = xmalloc(((size_t)argc + 1) * sizeof(char *)),
                .protos = xmalloc(((size_t)argc + 1) * sizeof(char *)),
                .protoc = "protoc",
                .compile.protoc_gen_c = "protoc-gen-c",
        };
        int status = parse_arguments(&options, argc, argv);
        if (status < 0)
                status = driver_run(&options);
        free(options.import_dirs);
        free(options.protos);
        return status;
}
