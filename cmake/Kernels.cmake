# Kernels: one table per instruction set, each compiled alone with its own flags; everything else
# is built for the baseline CPU. kernels/ uses nothing of the project, not even base.
function(bloom_kernels)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/kernels/*.cpp" "${CMAKE_SOURCE_DIR}/kernels/pack/*.cpp"
       "${CMAKE_SOURCE_DIR}/kernels/reference/*.cpp")
  set(isas scalar)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND isas avx2 avx512vnni)
  endif()
  set(flags_scalar "")
  set(flags_avx2 -mavx2 -mfma -mf16c)
  set(flags_avx512vnni -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni)
  foreach(isa IN LISTS isas)
    set(table "${CMAKE_SOURCE_DIR}/kernels/isa/${isa}/table.cpp")
    if(EXISTS "${table}")
      list(APPEND sources "${table}")
      # The algorithms are the same in every table, so sanitizers watch them in the portable one. In
      # the others the instrumented unrolled tiles would take minutes to compile; guard pages in the
      # tests catch what they read or write beyond their operands.
      if(BLOOM_SANITIZE AND NOT isa STREQUAL "scalar")
        list(APPEND flags_${isa} -fno-sanitize=all)
      endif()
      set_source_files_properties("${table}" PROPERTIES COMPILE_OPTIONS "-O3;${flags_${isa}}")
      string(TOUPPER "${isa}" upper)
      list(APPEND definitions "BLOOM_KERNELS_${upper}")
    endif()
  endforeach()
  if(sources)
    add_library(bloom_kernels STATIC ${sources})
    target_include_directories(bloom_kernels PUBLIC "${CMAKE_SOURCE_DIR}")
    target_compile_definitions(bloom_kernels PRIVATE ${definitions})
    target_link_libraries(bloom_kernels PRIVATE bloom_warnings)
    # Sanitizers add symbols of their own, so the check is for plain builds.
    if(NOT BLOOM_SANITIZE)
      add_test(NAME check_isa_objects
               COMMAND "${CMAKE_SOURCE_DIR}/tools/check_isa_objects.sh" "${CMAKE_BINARY_DIR}")
      set_tests_properties(check_isa_objects PROPERTIES LABELS kernels)
    endif()
  else()
    add_library(bloom_kernels INTERFACE)
    target_include_directories(bloom_kernels INTERFACE "${CMAKE_SOURCE_DIR}")
  endif()
  set_property(GLOBAL APPEND PROPERTY BLOOM_MODULES kernels)
endfunction()
