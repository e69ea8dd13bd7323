// An event stream, whole and cut, must give the same events.
#include <cstddef>
#include <cstdint>
#include <string>

#include <bloom/base/bytes.hpp>
#include <bloom/base/check.hpp>
#include <bloom/base/rng.hpp>
#include <bloom/sse/reader.hpp>

namespace {

std::string take(bloom::sse::Reader& reader) {
    std::string out;
    for (bloom::sse::Event e; reader.next(e);)
        out += e.type + "|" + e.data + "|" + e.id + "\n";
    return out;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom;
    if (size == 0) return 0;
    const std::string_view bytes = as_text({data + 1, size - 1});
    sse::Reader whole;
    BLOOM_CHECK(whole.feed(bytes).has_value());
    sse::Reader cut;
    std::string got;
    Rng rng(data[0]);
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t n = 1 + rng.below(data[0] % 16 + 1);
        BLOOM_CHECK(cut.feed(bytes.substr(at, n)).has_value());
        got += take(cut);
        at += n;
    }
    BLOOM_CHECK(got == take(whole));
    BLOOM_CHECK(cut.n_comments() == whole.n_comments());
    return 0;
}
