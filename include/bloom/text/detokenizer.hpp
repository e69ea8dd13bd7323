#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <bloom/text/tokenizer.hpp>

namespace bloom::text {

/// Turns a stream of bytes into well-formed UTF-8: complete characters leave at once, an incomplete
/// one at the end is held back (at most 3 bytes), ill-formed maximal subparts become U+FFFD.
/// Cost: O(bytes pushed). Thread: one.
class Utf8Stream {
public:
    /// Appends to `out` what has become complete.
    void push(std::string_view bytes, std::string& out);
    /// The stream has ended: an incomplete rest becomes one U+FFFD.
    void finish(std::string& out);

    std::size_t held() const noexcept { return n_held_; }

private:
    char held_[4] = {};
    std::size_t n_held_ = 0;
};

/// Text of a generation, token by token.
/// Control tokens give nothing; whoever needs them (tag parsing) looks at the ids first.
/// Lifetime: keeps the tokenizer alive. Thread: one.
class Detokenizer {
public:
    /// `answer`: the text stands alone, so a SentencePiece prefix space at its start is dropped;
    /// a raw continuation keeps it.
    explicit Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool answer = true);

    /// Appends the complete UTF-8 that this token brings. Cost: O(bytes of the token).
    void push(std::int32_t id, std::string& out);
    void finish(std::string& out);

    /// Bytes waiting for the rest of their character.
    std::size_t held() const noexcept { return stream_.held(); }

private:
    std::shared_ptr<const Tokenizer> tokenizer_;
    Utf8Stream stream_;
    bool strip_space_;
};

} // namespace bloom::text
