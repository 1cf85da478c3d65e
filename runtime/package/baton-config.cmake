# find_package(baton) defines
#   baton::baton          the shared library
#   baton::baton_static   the static library
#   baton::wellknown      google/protobuf/*.proto (timestamp, duration, …) compiled for protobuf-c
#   baton::standard       grpc.health.v1 and server reflection, served, and google.rpc: baton/health.h, baton/reflection.h
#   baton_IDL_DIR         where their .proto files are, for IMPORT_DIRS
#   baton::idlc           the IDL compiler
#   baton_generate(target protos…)   see BatonGenerate.cmake
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(PkgConfig)
if(NOT TARGET PkgConfig::PROTOBUF_C)
        pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c>=1.4)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/baton-targets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/BatonGenerate.cmake)
get_target_property(baton_IDL_DIR baton::standard INTERFACE_INCLUDE_DIRECTORIES)
list(FILTER baton_IDL_DIR INCLUDE REGEX "/baton/standard$")
