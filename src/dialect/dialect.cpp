#include <bloom/base/check.hpp>
#include <bloom/dialect/dialect.hpp>

namespace bloom::dialect {

const Dialect& dialect_of(gen::Dialect id) noexcept {
    for (const Dialect* dialect :
         {&kOpenAiChat, &kOpenAiCompletions, &kOpenAiResponses, &kAnthropicMessages}) {
        if (dialect->id == id) return *dialect;
    }
    BLOOM_CHECK(false);
}

std::unique_ptr<Encoder> make_encoder(const gen::RenderSpec& spec) {
    return dialect_of(spec.dialect).make_encoder(spec);
}

gen::Dialect shape_of(const json::Value& body, gen::Dialect path) noexcept {
    const auto object = body.as_object();
    if (!object) return path;
    const bool has_messages = object->find("messages").has_value();
    const bool has_input = object->find("input").has_value();
    if (path == gen::Dialect::openai_chat && has_input && !has_messages)
        return gen::Dialect::openai_responses;
    if (path == gen::Dialect::openai_responses && has_messages && !has_input)
        return gen::Dialect::openai_chat;
    return path;
}

} // namespace bloom::dialect
