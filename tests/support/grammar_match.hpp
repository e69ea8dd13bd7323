#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/text/grammar/grammar.hpp>
#include <bloom/text/grammar/matcher.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::test {

/// The stop token of the vocabularies below; ids before it are single bytes.
inline constexpr std::int32_t kStopToken = 256;

/// A vocabulary of all single bytes, a stop token and these pieces (without spaces) behind it.
inline std::shared_ptr<const text::GrammarVocab>
vocab_with(std::span<const std::string_view> pieces) {
    text::VocabSpec spec;
    spec.kind = text::VocabKind::char_bpe;
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (unsigned b = 0; b < 256; ++b) {
        spec.tokens.push_back(std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + '>');
        spec.types.push_back(text::TokenType::byte);
    }
    spec.tokens.emplace_back("</s>");
    spec.types.push_back(text::TokenType::control);
    spec.eos_id = kStopToken;
    for (const std::string_view piece : pieces) {
        spec.tokens.emplace_back(piece);
        spec.types.push_back(text::TokenType::normal);
    }
    const auto n = static_cast<std::int32_t>(spec.tokens.size());
    auto tokenizer = text::Tokenizer::create(std::move(spec));
    BLOOM_CHECK(tokenizer.has_value());
    auto vocab = text::GrammarVocab::create(**tokenizer, {}, n);
    BLOOM_CHECK(vocab.has_value());
    return *vocab;
}

inline std::shared_ptr<const text::GrammarVocab> byte_vocab() {
    static const std::shared_ptr<const text::GrammarVocab> kVocab = vocab_with({});
    return kVocab;
}

/// Whole texts against one grammar.
class GrammarCheck {
public:
    explicit GrammarCheck(std::shared_ptr<const text::Grammar> grammar,
                          std::shared_ptr<const text::GrammarVocab> vocab = byte_vocab()) {
        auto bound = text::BoundGrammar::create(std::move(grammar), std::move(vocab));
        BLOOM_CHECK(bound.has_value());
        bound_ = *bound;
    }

    text::GrammarMatcher matcher() const { return text::GrammarMatcher(bound_); }

    bool accepts(std::string_view text) const {
        text::GrammarMatcher m = matcher();
        return m.accept_bytes(text) && m.can_end();
    }

private:
    std::shared_ptr<text::BoundGrammar> bound_;
};

} // namespace bloom::test
