// Any template over a fixed conversation: parses or not, renders or fails, and stays in its bounds.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/text/jinja.hpp>

namespace {

constexpr std::uint64_t kSteps = 20'000;
constexpr std::size_t kOutputBytes = 64 << 10;

const bloom::text::jinja::Value& conversation() {
    using namespace bloom::text::jinja;
    static const Value value =
        *Value::from_json(R"({"messages": [{"role": "user", "content": "Grüße 世界"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f",
             "arguments": {"b": 1, "a": [1.5, null, true]}}}]}],
            "tools": [{"function": {"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}}],
            "bos_token": "<s>", "add_generation_prompt": true, "n": -3, "f": 2.5,
            "big": 123456789012345678901234567890})",
                          Origin::user);
    return value;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom::text::jinja;
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    auto parsed = Template::parse(source, "fuzz");
    if (!parsed) return 0;
    RenderLimits limits;
    limits.max_steps = kSteps;
    limits.max_output_bytes = kOutputBytes;
    const auto rendered = parsed->render(conversation(), limits);
    if (!rendered) return 0;
    std::size_t at = 0;
    for (const ByteRange& range : rendered->user_ranges) {
        BLOOM_CHECK(range.begin < range.end);
        BLOOM_CHECK(at == 0 || range.begin > at);
        BLOOM_CHECK(range.end <= rendered->text.size());
        at = range.end;
    }
    return 0;
}
