#[=[
baton_generate(TARGET FILE.proto... [IMPORT_DIRS DIR...] [OPTIONS OPTION...] [STATIC] [NO_LINK])

Compiles .proto files with idlc and adds the result to TARGET: message structs (x.pb-c.h, x.pb-c.c) and services (x.baton.h,
x.baton.c). They are generated again when a .proto changes, an imported one too. TARGET can include the headers, and is
linked with baton::wellknown and baton::baton, or, with STATIC, baton::baton_static, or, with NO_LINK, neither of the two.

An imported .proto must be compiled as well, even one for options only: in the same call, or in a library that TARGET links.
google/protobuf/*.proto are in baton::wellknown.

A file's path in #include is its path below the first IMPORT_DIRS that contains it; without IMPORT_DIRS, below the current
source directory. That must also be how other .proto files import it. OPTIONS go to idlc, --package-prefix for example.
The project's languages must include C.
#]=]
cmake_policy(VERSION 3.20...3.25)

# path below the first of the directories that contains it; a file outside all of them is refused.
function(_baton_relative result path)
        foreach(dir IN LISTS ARGN)
                cmake_path(IS_PREFIX dir ${path} NORMALIZE inside)
                if(inside)
                        cmake_path(RELATIVE_PATH path BASE_DIRECTORY ${dir} OUTPUT_VARIABLE relative)
                        set(${result} ${relative} PARENT_SCOPE)
                        return()
                endif()
        endforeach()
        message(FATAL_ERROR "baton_generate: ${path} is below none of the IMPORT_DIRS: ${ARGN}")
endfunction()

function(baton_generate target)
        cmake_parse_arguments(PARSE_ARGV 1 arg "STATIC;NO_LINK" "" "IMPORT_DIRS;OPTIONS")
        set(protos ${arg_UNPARSED_ARGUMENTS})
        get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
        if(NOT TARGET ${target} OR NOT protos)
                message(FATAL_ERROR "baton_generate(${target} ...) needs an existing target and at least one .proto")
        endif()
        if(NOT "C" IN_LIST languages)
                message(FATAL_ERROR "baton_generate(${target} ...) generates C: add C to the project's LANGUAGES")
        endif()

        set(import_dirs)
        foreach(dir IN LISTS arg_IMPORT_DIRS)
                cmake_path(ABSOLUTE_PATH dir BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
                list(APPEND import_dirs ${dir})
        endforeach()
        if(NOT import_dirs)
                set(import_dirs ${CMAKE_CURRENT_SOURCE_DIR})
        endif()

        set(out ${CMAKE_CURRENT_BINARY_DIR}/${target}.baton)
        set(sources)
        set(headers)
        set(inputs)
        foreach(proto IN LISTS protos)
                cmake_path(ABSOLUTE_PATH proto BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
                _baton_relative(relative ${proto} ${import_dirs})
                cmake_path(REMOVE_EXTENSION relative LAST_ONLY)
                list(APPEND inputs ${proto})
                list(APPEND sources ${out}/${relative}.baton.c)
                list(APPEND headers ${out}/${relative}.baton.h)
                if(NOT "--without-structs" IN_LIST arg_OPTIONS)
                        list(APPEND sources ${out}/${relative}.pb-c.c)
                        list(APPEND headers ${out}/${relative}.pb-c.h)
                endif()
        endforeach()

        string(MD5 name "${inputs}")
        set(depfile ${out}/${name}.d)
        list(TRANSFORM import_dirs PREPEND -I OUTPUT_VARIABLE include_options)
        add_custom_command(
                OUTPUT ${headers} ${sources} # the depfile names the first header first, as ninja wants it
                COMMAND baton::idlc ${include_options} ${arg_OPTIONS} --out ${out} --dependency-file ${depfile} ${inputs}
                DEPENDS ${inputs} baton::idlc baton::protoc-gen-idlc
                DEPFILE ${depfile}
                COMMENT "Generating ${target}'s messages and services with idlc"
                VERBATIM)

        target_sources(${target} PRIVATE ${sources} ${headers})
        # protobuf-c's output is not ours to mend.
        set(structs ${sources})
        list(FILTER structs INCLUDE REGEX "\\.pb-c\\.c$")
        if(structs)
                set_source_files_properties(${structs} PROPERTIES COMPILE_OPTIONS -w)
        endif()
        target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${out}>)
        get_target_property(type ${target} TYPE)
        set(scope PUBLIC)
        if(type STREQUAL EXECUTABLE)
                set(scope PRIVATE)
        endif()
        if(NOT arg_NO_LINK)
                target_link_libraries(${target} ${scope} baton::wellknown)
                if(arg_STATIC)
                        target_link_libraries(${target} ${scope} baton::baton_static)
                else()
                        target_link_libraries(${target} ${scope} baton::baton)
                endif()
        endif()
endfunction()
