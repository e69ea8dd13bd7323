// Any answer in any format: whole and cut up it gives the same events, and calls are well formed.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/check.hpp>
#include <bloom/text/output_parser.hpp>

namespace {

using namespace bloom::text;

void feed(const OutputParserOptions& options, std::string_view text, std::size_t step,
          bool complete, ParsedOutput& all) {
    OutputParser parser(options);
    for (std::size_t at = 0; at < text.size(); at += step) {
        parser.push(-1, text.substr(at, step), all);
    }
    parser.finish(complete, all);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    OutputParserOptions options;
    options.format = static_cast<OutputFormat>(data[0] % 6);
    options.in_reasoning = (data[0] & 0x40) != 0;
    options.raw_reasoning = (data[0] & 0x20) != 0;
    const bool complete = (data[0] & 0x80) != 0;
    options.tools = {
        {"f", "", R"({"properties":{"s":{"type":"string"},"i":{"type":"integer"}}})", false}};
    const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
    ParsedOutput whole;
    feed(options, text, text.empty() ? 1 : text.size(), complete, whole);
    ParsedOutput cut;
    feed(options, text, 1, complete, cut);
    BLOOM_CHECK(whole.text == cut.text);
    BLOOM_CHECK(whole.pieces.size() == cut.pieces.size());
    for (std::size_t i = 0; i < whole.pieces.size(); ++i) {
        BLOOM_CHECK(whole.pieces[i].kind == cut.pieces[i].kind);
        BLOOM_CHECK(whole.pieces[i].begin == cut.pieces[i].begin);
        BLOOM_CHECK(whole.pieces[i].end == cut.pieces[i].end);
    }
    return 0;
}
