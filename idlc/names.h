/*
 * How .proto names become C names. Types, fields and enums follow protobuf-c 1.4.1 to the letter, because the structs
 * are its; services and methods follow Baton's rule. All results live in the arena.
 */
#ifndef IDLC_NAMES_H
#define IDLC_NAMES_H

#include "memory.h"

/* protobuf-c's rules: "fooBar" -> "foo_bar" and "FOO_BAR"; a run of capitals stays one word ("HTTPGet" -> "httpget"). */
char *name_camel_to_lower(struct arena *arena, const char *name);
char *name_camel_to_upper(struct arena *arena, const char *name);

/* protobuf-c's rules for a full name, "demo.say_it.Foo": "Demo__SayIt__Foo", "demo__say_it__foo", "DEMO__SAY_IT__FOO". */
char *name_full_to_c(struct arena *arena, const char *full_name);
char *name_full_to_lower(struct arena *arena, const char *full_name);
char *name_full_to_upper(struct arena *arena, const char *full_name);

char *name_lower_case(struct arena *arena, const char *name);

/* protobuf-c's rule for a field: lower case, and "_" behind a keyword that it knows. */
char *name_field(struct arena *arena, const char *name);

/* Baton's rule for services, methods and packages: words joined by one underscore ("HTTPGet" -> "http_get",
 * "demo.v1" -> "demo_v1"). "" where nothing remains; may start with a digit. */
char *name_snake(struct arena *arena, const char *name);

/* name, with "_" behind it where it is a keyword of C or C++. */
char *name_member(struct arena *arena, const char *name);

/* Whether C or C++ gives the word a meaning that makes it useless as the name of a member; in protobuf-c's list or
 * not. */
bool name_is_reserved(const char *name);

/* Whether name is a C identifier. */
bool name_is_identifier(const char *name);

/* Whether name is one or more C identifiers joined by dots, as a package is. */
bool name_is_dotted(const char *name);

/* Whether functions called STEM_anything may clash with those of the C library or of Baton. */
bool name_is_system_prefix(const char *stem);

/* A file name without ".proto" (or ".protodevel"). */
char *name_stem(struct arena *arena, const char *file_name);

/* Any text as part of an identifier: other characters as _ and two hexadecimal digits, so that no two texts meet. */
char *name_identifier(struct arena *arena, const char *text);

#endif
