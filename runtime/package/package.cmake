# From the object library baton_objects: libbaton.so, libbaton.a, and what an installed Baton consists of.

# Within the library calls bind at link time: no detour through the PLT, and nobody interposes our own functions.
target_compile_options(baton_objects PRIVATE -fno-semantic-interposition)
set_target_properties(baton_objects PROPERTIES POSITION_INDEPENDENT_CODE ON)
if(BATON_SANITIZE STREQUAL "thread")
        target_sources(baton_objects PRIVATE base/tsan.c)
endif()

add_library(baton SHARED)
add_library(baton::baton ALIAS baton)
set(map ${CMAKE_CURRENT_SOURCE_DIR}/libbaton.map)
target_sources(baton PRIVATE $<TARGET_OBJECTS:baton_objects>)
target_link_options(baton PRIVATE -Wl,--version-script=${map} -Wl,-Bsymbolic-functions)
if(NOT BATON_SANITIZE)
        target_link_options(baton PRIVATE -Wl,--no-undefined)
endif()
set_target_properties(baton PROPERTIES
        LINKER_LANGUAGE C LINK_DEPENDS ${map} VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})

# An archive cannot hide symbols between its members, so it holds one member, linked beforehand, in which every name
# but baton_* was made local: a user's ring_init() and ours never meet.
set(prelinked ${CMAKE_CURRENT_BINARY_DIR}/libbaton.o)
add_custom_command(
        OUTPUT ${prelinked}
        COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o ${prelinked} $<TARGET_OBJECTS:baton_objects>
        COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=baton_* ${prelinked}
        DEPENDS $<TARGET_OBJECTS:baton_objects>
        COMMENT "Linking libbaton.o"
        COMMAND_EXPAND_LISTS VERBATIM)
add_library(baton_static STATIC ${prelinked})
add_library(baton::baton_static ALIAS baton_static)
set_source_files_properties(${prelinked} PROPERTIES EXTERNAL_OBJECT ON)
set_target_properties(baton_static PROPERTIES OUTPUT_NAME baton LINKER_LANGUAGE C)

foreach(library baton baton_static)
        target_include_directories(${library} PUBLIC
                $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
        target_link_libraries(${library} PUBLIC PkgConfig::PROTOBUF_C PRIVATE Threads::Threads)
endforeach()

# ---- installation -----------------------------------------------------------------------------------------

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/baton)
install(TARGETS baton baton_static EXPORT baton)
install(DIRECTORY include/baton DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT baton NAMESPACE baton:: FILE baton-targets.cmake DESTINATION ${cmake_dir})

include(CMakePackageConfigHelpers)
write_basic_package_version_file(
        ${CMAKE_CURRENT_BINARY_DIR}/baton-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
        ${CMAKE_CURRENT_SOURCE_DIR}/package/baton-config.cmake
        ${CMAKE_CURRENT_BINARY_DIR}/baton-config-version.cmake
        DESTINATION ${cmake_dir})

# The .pc file finds its prefix from where it lies, so that an installed tree can be moved.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH prefix_from_pc /prefix/${pc_dir} /prefix)
string(REGEX REPLACE "/$" "" prefix_from_pc ${prefix_from_pc})
configure_file(package/baton.pc.in ${CMAKE_CURRENT_BINARY_DIR}/baton.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/baton.pc DESTINATION ${pc_dir})

install(FILES man/baton.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
