#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/text/grammar/matcher.hpp>
#include <bloom/text/tokenizer.hpp>
#include <bloom/text/unicode.hpp>

/// Small vocabularies for grammars.
namespace bloom::test {

/// Bytes in the alphabet of byte-level vocabularies, by its definition.
inline std::string spelled(std::string_view bytes) {
    std::string out;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        unsigned next = 0x100;
        for (unsigned b = 0; b <= byte; ++b) {
            const bool shown = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            const unsigned cp = shown ? b : next++;
            if (b == byte) text::append_utf8(out, cp);
        }
    }
    return out;
}

/// Ids 0 to 255 are the bytes, unless left out, then come `more`, then `tags` (user-defined), then
/// the control token `<|end|>`, which stops.
struct SmallVocab {
    std::vector<std::string> more;
    std::vector<std::string> tags;
    bool all_bytes = true;

    std::int32_t first_tag() const {
        return static_cast<std::int32_t>((all_bytes ? 256 : 0) + more.size());
    }

    std::int32_t stop() const { return first_tag() + static_cast<std::int32_t>(tags.size()); }

    std::shared_ptr<const text::Tokenizer> tokenizer() const {
        text::VocabSpec spec;
        spec.pre = "qwen2";
        for (unsigned b = 0; all_bytes && b < 256; ++b)
            spec.tokens.push_back(spelled(std::string(1, static_cast<char>(b))));
        for (const std::string& token : more)
            spec.tokens.push_back(spelled(token));
        spec.types.assign(spec.tokens.size(), text::TokenType::normal);
        for (const std::string& tag : tags) {
            spec.tokens.push_back(tag);
            spec.types.push_back(text::TokenType::user_defined);
        }
        spec.tokens.push_back("<|end|>");
        spec.types.push_back(text::TokenType::control);
        spec.eos_id = stop();
        auto made = text::Tokenizer::create(std::move(spec));
        if (!made) throw std::runtime_error(std::string(made.error().message()));
        return *made;
    }

    std::shared_ptr<const text::GrammarVocab> vocab() const {
        std::vector<std::int32_t> tag_ids;
        for (std::int32_t id = first_tag(); id < stop(); ++id)
            tag_ids.push_back(id);
        auto made = text::GrammarVocab::create(*tokenizer(), tag_ids, stop() + 1);
        if (!made) throw std::runtime_error(std::string(made.error().message()));
        return *made;
    }
};

/// A matcher over single bytes, for tests of what a grammar accepts.
inline text::GrammarMatcher byte_matcher(std::shared_ptr<const text::Grammar> grammar) {
    static const std::shared_ptr<const text::GrammarVocab> kVocab = SmallVocab{}.vocab();
    auto bound = text::BoundGrammar::create(std::move(grammar), kVocab);
    if (!bound) throw std::runtime_error(std::string(bound.error().message()));
    return text::GrammarMatcher(*bound);
}

/// Whether the whole text is a sentence.
inline bool accepts(const std::shared_ptr<const text::Grammar>& grammar, std::string_view text) {
    text::GrammarMatcher matcher = byte_matcher(grammar);
    return matcher.accept_bytes(text) && matcher.can_end();
}

} // namespace bloom::test
