// Any body to any dialect: it is read or refused by name, and whatever was read can be answered in
// JSON. The first byte chooses the dialect.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/check.hpp>
#include <bloom/dialect/dialect.hpp>
#include <bloom/dialect/error_body.hpp>
#include <bloom/dialect/openai_responses.hpp>
#include <bloom/json/reader.hpp>

namespace {

using namespace bloom;

constexpr std::array kDialects{gen::Dialect::openai_chat, gen::Dialect::openai_completions,
                               gen::Dialect::openai_responses, gen::Dialect::anthropic_messages};

/// The events of a small answer with everything in it.
gen::EventBatch answer() {
    using enum gen::EventKind;
    gen::EventBatch events;
    const auto add = [&](gen::EventKind kind, std::string_view text) {
        events.emplace_back();
        events.back().kind = kind;
        events.back().text = text;
    };
    add(accepted, {});
    add(started, {});
    add(reasoning_delta, "hm");
    add(text_delta, "\xc3\xa9\"\n");
    events.back().logprobs = {{1, -1, "\xc3", {{2, -2, "x", {}}}}};
    add(tool_begin, "f");
    add(tool_args, "{}");
    add(tool_end, {});
    add(finished, {});
    events.back().finish = gen::Finish::tool_calls;
    add(usage, {});
    return events;
}

/// Every `data:` line of a stream, or the body as a whole, is JSON.
void check_json(std::string_view out, bool stream) {
    json::Parser parser;
    if (!stream) {
        BLOOM_CHECK(parser.parse(out).has_value());
        return;
    }
    constexpr std::string_view kData = "data: ";
    while (!out.empty()) {
        const std::size_t end = out.find('\n');
        BLOOM_CHECK(end != std::string_view::npos);
        const std::string_view line = out.substr(0, end);
        out.remove_prefix(end + 1);
        if (!line.starts_with(kData)) continue;
        BLOOM_CHECK(parser.parse(line.substr(kData.size())).has_value());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    const gen::Dialect path = kDialects[data[0] % kDialects.size()];
    json::Parser parser;
    const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
    const auto body = parser.parse(text);
    if (!body) return 0;
    static_cast<void>(dialect::shape_of(*body, path));
    const dialect::Dialect& d = dialect::dialect_of(path);
    const auto request = d.parse(*body);
    if (!request) {
        BLOOM_CHECK(!request.error().message.empty());
        BLOOM_CHECK(!request.error().code.empty());
        std::string refusal;
        dialect::append_openai_error(refusal, request.error().message, "invalid_request_error",
                                     request.error().param, request.error().code);
        BLOOM_CHECK(parser.parse(refusal).has_value());
        return 0;
    }
    const gen::Generation& g = request->generation;
    BLOOM_CHECK(!g.model.empty());
    BLOOM_CHECK(g.n_choices >= 1);
    BLOOM_CHECK(g.limits.max_tokens >= 1);
    if (dialect::needs_stored(*request)) return 0; // its messages are still to come
    BLOOM_CHECK(g.messages.empty() != (g.prompts.empty() && g.token_prompts.empty()));
    gen::RenderSpec spec = g.render;
    spec.response_id = d.response_id("00000000-0000-4000-8000-000000000000");
    const auto encoder = d.make_encoder(spec);
    std::string out;
    for (const gen::Event& event : answer())
        encoder->append(event, out);
    encoder->finish(out);
    check_json(out, spec.stream);
    return 0;
}
