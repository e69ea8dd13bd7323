#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/text/grammar/grammar.hpp>
#include <bloom/text/grammar/matcher.hpp>
#include <bloom/text/tokenizer.hpp>

namespace bloom::test {

/// A vocabulary of all single bytes and a stop token; ids of bytes are the bytes.
inline std::shared_ptr<const text::GrammarVocab> byte_vocab() {
    static const std::shared_ptr<const text::GrammarVocab> kVocab = [] {
        text::VocabSpec spec;
        spec.kind = text::VocabKind::char_bpe;
        constexpr std::string_view kDigits = "0123456789ABCDEF";
        for (unsigned b = 0; b < 256; ++b) {
            spec.tokens.push_back(std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + '>');
            spec.types.push_back(text::TokenType::byte);
        }
        spec.tokens.emplace_back("</s>");
        spec.types.push_back(text::TokenType::control);
        spec.eos_id = 256;
        auto tokenizer = text::Tokenizer::create(std::move(spec));
        BLOOM_CHECK(tokenizer.has_value());
        auto vocab = text::GrammarVocab::create(**tokenizer, {}, 257);
        BLOOM_CHECK(vocab.has_value());
        return *vocab;
    }();
    return kVocab;
}

/// Whole texts against one grammar.
class GrammarCheck {
public:
    explicit GrammarCheck(std::shared_ptr<const text::Grammar> grammar) {
        auto bound = text::BoundGrammar::create(std::move(grammar), byte_vocab());
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
