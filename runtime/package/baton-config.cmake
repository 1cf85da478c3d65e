# find_package(baton) defines
#   baton::baton          the shared library
#   baton::baton_static   the static library
#   baton::wellknown      google/protobuf/*.proto (timestamp, duration, …) compiled for protobuf-c
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
