# BLOOM_KERNELS_ONLY: the kernels and their tests, nothing else of the project and none of its
# packages. For processors that are only reached by cross compiling. GoogleTest comes from its
# sources, since the installed library is the host's.
include(Kernels)
set(BLOOM_GTEST_SOURCE "/usr/src/googletest" CACHE PATH "Sources of GoogleTest (Debian: googletest)")

function(bloom_kernels_only)
  enable_testing()
  bloom_kernels()

  set(BUILD_GMOCK OFF CACHE BOOL "" FORCE)
  set(INSTALL_GTEST OFF CACHE BOOL "" FORCE)
  add_subdirectory("${BLOOM_GTEST_SOURCE}" googletest EXCLUDE_FROM_ALL SYSTEM)

  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/kernels/kernels/*.cpp")
  add_executable(bloom_kernels_kernels ${sources} "${CMAKE_SOURCE_DIR}/tests/support/main.cpp"
                 "${CMAKE_SOURCE_DIR}/src/base/check.cpp")
  target_include_directories(bloom_kernels_kernels PRIVATE "${CMAKE_SOURCE_DIR}/include" "${CMAKE_SOURCE_DIR}/tests")
  target_compile_definitions(bloom_kernels_kernels PRIVATE BLOOM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(bloom_kernels_kernels PRIVATE bloom_kernels bloom_warnings gtest)
  set_target_properties(bloom_kernels_kernels PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME bloom_kernels_kernels COMMAND bloom_kernels_kernels)
  set_tests_properties(bloom_kernels_kernels PROPERTIES LABELS kernels)
endfunction()
