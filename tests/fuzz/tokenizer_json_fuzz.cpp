// Any bytes as tokenizer.json, or as vocab.json with merges.txt: refused, or a tokenizer that
// encodes texts without harm. The text to encode is the file itself; the side files get it too.
#include <algorithm>
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
#include <bloom/text/published_tokenizers.hpp>

namespace {

using namespace bloom::text;

void use(VocabSpec vocab, std::string_view text) {
    const auto made = Tokenizer::create(std::move(vocab));
    if (!made) return;
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
    BLOOM_CHECK(tokenizer_fingerprint(t).size() == 64);
    for (const std::int32_t id : t.suppressed_ids())
        BLOOM_CHECK(id >= 0 && id < t.n_tokens());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    static_cast<void>(read_hf_tokenizer({.tokenizer_json = "{}", .tokenizer_config_json = text}));
    auto read = read_hf_tokenizer({.tokenizer_json = text,
                                   .tokenizer_config_json = text,
                                   .generation_config_json = text,
                                   .config_json = text,
                                   .family_pre = size % 2 == 0 ? "afmoe" : ""});
    if (read) use(std::move(read->vocab), text);
    const std::size_t line = std::min(text.find('\n'), size);
    auto old = read_hf_tokenizer({.tokenizer_config_json = text.substr(line),
                                  .vocab_json = text.substr(0, line),
                                  .merges_txt = text.substr(line),
                                  .added_tokens_json = text.substr(0, line),
                                  .family_pre = "qwen35"});
    if (old) use(std::move(old->vocab), text);
    return 0;
}
