// Saved responses come from anywhere: heads, bodies, streams with their signature comments. What a
// server may add in front of a stream must not change what it says.
#include <cstddef>
#include <cstdint>
#include <string>

#include <bloom/attest/saved_response.hpp>
#include <bloom/base/bytes.hpp>
#include <bloom/base/check.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom;
    const std::string text(as_text({data, size}));
    for (const auto& response : {attest::read_saved_dump(text), attest::read_saved_head(text)}) {
        if (!response) continue;
        const auto bytes = attest::signed_bytes_of(*response);
        if (bytes) static_cast<void>(attest::verify(*bytes, *bytes->evidence, nullptr));
    }
    const auto plain = attest::signed_bytes_of_stream(text);
    const auto kept_alive = attest::signed_bytes_of_stream(": keep-alive\n\n" + text);
    BLOOM_CHECK(plain.has_value() == kept_alive.has_value());
    if (plain) BLOOM_CHECK(plain->hash == kept_alive->hash);
    if (plain) static_cast<void>(attest::verify(*plain, *plain->evidence, nullptr));
    return 0;
}
