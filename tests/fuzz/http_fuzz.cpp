// The first byte seeds the cuts, the rest is a byte stream of requests: cutting it may change
// nothing.
#include <cstddef>
#include <cstdint>

#include <bloom/base/check.hpp>
#include <bloom/base/rng.hpp>

#include "tests/support/http_model.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom;
    if (size == 0) return 0;
    const std::string_view bytes = as_text({data + 1, size - 1});
    http::Limits limits; // small, so that the bounds are within reach of short inputs
    limits.head_bytes = 512;
    limits.target_bytes = 64;
    limits.n_headers = 8;
    limits.body_bytes = 256;
    limits.chunk_extension_bytes = 32;
    limits.trailer_bytes = 64;
    limits.n_trailers = 4;
    const test::ModelResult whole = test::run_model(bytes, {}, limits);
    Rng rng(data[0]);
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < bytes.size();) {
        at += 1 + rng.below(data[0] % 32 + 1);
        if (at < bytes.size()) cuts.push_back(at);
    }
    BLOOM_CHECK(test::run_model(bytes, cuts, limits) == whole);
    return 0;
}
