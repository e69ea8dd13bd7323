#include "dialect/render.hpp"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include <bloom/base/bytes.hpp>
#include <bloom/base/text.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::dialect {

PublicFailure public_failure(gen::Failure failure) noexcept {
    switch (failure) {
    case gen::Failure::timeout:
        return {"timeout", "The response took too long and was stopped."};
    case gen::Failure::overloaded:
        return {"provider_error", "The machine ran out of capacity while answering."};
    case gen::Failure::cancelled:
        return {"provider_error", "The request was cancelled."};
    default:
        return {"provider_error", "The machine that was answering failed. Please try again."};
    }
}

std::string_view finish_name(gen::Finish finish) noexcept {
    switch (finish) {
    case gen::Finish::length:
        return "length";
    case gen::Finish::tool_calls:
        return "tool_calls";
    case gen::Finish::stop:
    case gen::Finish::cancelled:
    case gen::Finish::none:
        return "stop";
    }
    return "stop";
}

std::string undashed_id(std::string_view prefix, std::string_view job_id) {
    std::string id(prefix);
    for (const char c : job_id) {
        if (c != '-') id += c;
    }
    return id;
}

std::string derived_id(const gen::RenderSpec& spec, std::string_view prefix, std::int32_t choice,
                       std::int32_t index) {
    constexpr std::size_t kDigits = 24;
    constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "abcdefghijklmnopqrstuvwxyz";
    const std::string name = fmt::format("{}:{}:{}:{}", spec.response_id, prefix, choice, index);
    const crypto::Sha256 digest = crypto::sha256(as_bytes(name));
    std::string id(prefix);
    // The remainder's bias does not matter: an id has to differ from others, not to be secret.
    for (std::size_t i = 0; i < kDigits; ++i)
        id += kAlphabet[digest[i] % kAlphabet.size()];
    return id;
}

void write_usage(json::Writer& w, const gen::Usage& usage) {
    w.begin_object();
    w.key("prompt_tokens").integer(usage.prompt_tokens);
    w.key("completion_tokens").integer(usage.completion_tokens);
    w.key("total_tokens").integer(usage.prompt_tokens + usage.completion_tokens);
    w.key("prompt_tokens_details").begin_object();
    w.key("cached_tokens").integer(usage.cached_tokens).end_object();
    w.key("completion_tokens_details").begin_object();
    w.key("reasoning_tokens").integer(usage.reasoning_tokens).end_object();
    w.end_object();
}

std::string_view token_text(std::string_view bytes, std::string_view prefix,
                            TokenTextBuffer& buffer) noexcept {
    constexpr std::string_view kHex = "0123456789abcdef";
    constexpr std::size_t kSpelled = 4;
    // Tokens with parts of characters are short; of longer ones the writer makes what it can.
    if (is_utf8(bytes) || prefix.size() + bytes.size() * kSpelled > buffer.size()) return bytes;
    std::size_t n = prefix.copy(buffer.data(), prefix.size());
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        buffer[n++] = '\\';
        buffer[n++] = 'x';
        buffer[n++] = kHex[byte >> 4];
        buffer[n++] = kHex[byte & 15];
    }
    return {buffer.data(), n};
}

void write_logprob(json::Writer& w, float logprob) {
    if (!std::isfinite(logprob)) {
        w.raw("-9999.0");
        return;
    }
    std::array<char, 32> text; // the longest shortest-form float has 15 characters
    const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), logprob);
    BLOOM_CHECK(error == std::errc{});
    w.raw({text.data(), static_cast<std::size_t>(end - text.data())});
}

namespace {

void write_token_members(json::Writer& w, const gen::TokenLogprob& token) {
    TokenTextBuffer buffer;
    w.key("token").string(token_text(token.bytes, {}, buffer)).key("logprob");
    write_logprob(w, token.logprob);
    w.key("bytes").begin_array();
    for (const char c : token.bytes)
        w.integer(static_cast<unsigned>(static_cast<unsigned char>(c)));
    w.end_array();
}

} // namespace

void write_logprobs(json::Writer& w, std::span<const gen::TokenLogprob> tokens) {
    w.begin_array();
    for (const gen::TokenLogprob& token : tokens) {
        w.begin_object();
        write_token_members(w, token);
        w.key("top_logprobs").begin_array();
        for (const gen::TokenLogprob& top : token.top) {
            w.begin_object();
            write_token_members(w, top);
            w.end_object();
        }
        w.end_array().end_object();
    }
    w.end_array();
}

} // namespace bloom::dialect
