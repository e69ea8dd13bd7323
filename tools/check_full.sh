# The long stages of tools/check --full; sourced by it. Each stage leaves a mark for this commit, so a
# run that was cut off goes on where it stopped. Changes that are not committed make marks of their own.
marks="build/full/$(git rev-parse --short HEAD)"
if [[ -n "$(git status --porcelain)" ]]; then
  marks+="-$({ git diff HEAD; git ls-files -o --exclude-standard -z | xargs -0r sha1sum; } | sha1sum | cut -c1-12)"
fi
mkdir -p "$marks"

once() { # name command...
  local name=$1
  shift
  if [[ -e "$marks/$name.ok" ]]; then
    echo "$name: passed earlier on this commit"
    return
  fi
  say "$name"
  if "$@"; then touch "$marks/$name.ok"; else failed_stages+=("$name"); fi
}

thread_sanitizer() {
  build tsan bloom_tests && tests --kinds unit,property,sim --except kernels --timeout-s 1800 build/tsan
}

# The whole node with real clients, under each sanitizer; fewer streams, since it is ten times slower.
sanitized_node() { # preset
  build "$1" darkbloom && DARKBLOOM_TEST_STREAMS=64 tests/integration/run --counts "$counts" "build/$1/darkbloom" &&
    DARKBLOOM_STRUCTURED_CASES=16 tests/integration/run --counts "$counts" --suite tests/conformance/clients \
      "build/$1/darkbloom"
}

# Agents that bring native programs (a download of about a gigabyte).
native_agents() {
  tests/integration/run --counts "$counts" --suite tests/conformance/agents_native build/release/darkbloom
}

structured_output() {
  DARKBLOOM_STRUCTURED_CASES=1000 tests/integration/run --counts "$counts" --suite tests/conformance/clients \
    build/release/darkbloom tests/conformance/clients/structured.test.mjs
}

large_counts() {
  DARKBLOOM_SIM_SEEDS=10000 DARKBLOOM_KERNEL_CASES=100000 DARKBLOOM_PROPERTY_CASES=100000 \
    tests --kinds sim,kernels,property --timeout-s 7200 build/release
}

fuzz_target() { # name seconds
  local corpus="build/fuzz/corpus/$1"
  mkdir -p "$corpus"
  "build/fuzz/tests/bloom_fuzz_$1" "$corpus" "tests/fuzz/corpus/$1" -max_total_time="$2" -print_final_stats=1 \
    -artifact_prefix="build/fuzz/" -timeout=10 -rss_limit_mb=4096 >"build/fuzz/$1.log" 2>&1 ||
    { tail -n 40 "build/fuzz/$1.log"; return 1; }
  grep -E 'stat::number_of_executed_units' "build/fuzz/$1.log"
}

once tsan thread_sanitizer
once tsan-node sanitized_node tsan
once asan-node sanitized_node asan
once native-agents native_agents
once structured-output structured_output
once large-counts large_counts
fuzz_targets=()
for source in tests/fuzz/*_fuzz.cpp; do
  name=${source##*/}
  fuzz_targets+=("bloom_fuzz_${name%_fuzz.cpp}")
done
if build fuzz "${fuzz_targets[@]}"; then
  for target in build/fuzz/tests/bloom_fuzz_*; do
    [[ -f "$target" && -x "$target" ]] || continue
    name=${target##*/bloom_fuzz_}
    once "fuzz-$name" fuzz_target "$name" "${DARKBLOOM_FUZZ_SECONDS:-60}"
  done
else
  failed_stages+=("fuzz build")
fi
