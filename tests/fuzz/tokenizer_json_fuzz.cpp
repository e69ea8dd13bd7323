// Any bytes as tokenizer.json: refused, or a tokenizer that encodes texts without harm. The text to
// encode is the file itself; the configs get it too.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/text/detokenizer.hpp>
#include <bloom/text/hf_tokenizer.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom::text;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    static_cast<void>(read_hf_tokenizer({.tokenizer_json = "{}", .tokenizer_config_json = text}));
    auto read = read_hf_tokenizer(
        {.tokenizer_json = text, .tokenizer_config_json = text, .generation_config_json = text});
    if (!read) return 0;
    const auto made = Tokenizer::create(std::move(read->vocab));
    if (!made) return 0;
    const Tokenizer& t = **made;
    const std::string_view sample = text.substr(0, 4096);
    std::vector<std::int32_t> ids;
    BLOOM_CHECK(t.encode(sample, {}, ids).has_value());
    BLOOM_CHECK(
        t.encode("a \n1\xff", {.add_special = false, .parse_special = false}, ids).has_value());
    std::string out;
    Detokenizer stream(*made);
    for (const std::int32_t id : ids) {
        BLOOM_CHECK(id >= 0 && id < t.n_tokens());
        stream.push(id, out);
    }
    stream.finish(out);
    BLOOM_CHECK(bloom::is_utf8(out));
    return 0;
}
