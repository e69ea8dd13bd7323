# Language level, warnings and the compilers that are refused.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  message(FATAL_ERROR "g++ ${CMAKE_CXX_COMPILER_VERSION} miscompiles coroutines (needs 14 or newer); "
                      "install clang-19 and configure with --preset release")
endif()

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(BLOOM_CCACHE ccache)
if(BLOOM_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${BLOOM_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${BLOOM_CCACHE})
endif()

# Sums must come out the same wherever they are compiled: contraction is explicit or absent.
add_compile_options(-ffp-contract=off -fno-omit-frame-pointer -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
add_compile_options($<$<CONFIG:Debug>:-Og> $<$<CONFIG:Debug>:-g1>)
add_compile_definitions($<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_link_options(-fuse-ld=lld)
endif()

add_library(bloom_warnings INTERFACE)
target_compile_options(bloom_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion
  $<$<BOOL:${BLOOM_WERROR}>:-Werror>)
