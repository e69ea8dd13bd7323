# BLOOM_SANITIZE: a list for -fsanitize, e.g. "address,undefined" or "thread".
set(BLOOM_SANITIZE "" CACHE STRING "Sanitizers to build with")
if(BLOOM_SANITIZE)
  add_compile_options(-fsanitize=${BLOOM_SANITIZE} -fno-sanitize-recover=all -g1)
  add_link_options(-fsanitize=${BLOOM_SANITIZE})
endif()

# Coverage everywhere, so that libFuzzer sees into the libraries and not only into its targets.
if(BLOOM_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
