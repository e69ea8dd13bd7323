#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/text/detokenizer.hpp>

namespace bloom::text {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

/// What the bytes at the start of a text are (Unicode 15, table 3-7).
struct Sequence {
    enum class Kind { whole, partial, broken } kind;
    std::size_t bytes; ///< whole: the character; broken: the maximal subpart; partial: all there is
};

Sequence sequence_at(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return {Sequence::Kind::whole, 1};
    std::size_t size = 0;
    unsigned low = 0x80;
    unsigned high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
        size = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        size = 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        size = 4;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else {
        return {Sequence::Kind::broken, 1};
    }
    for (std::size_t i = 1; i < size; ++i) {
        if (i == text.size()) return {Sequence::Kind::partial, i};
        if (byte(i) < low || byte(i) > high) return {Sequence::Kind::broken, i};
        low = 0x80;
        high = 0xbf;
    }
    return {Sequence::Kind::whole, size};
}

} // namespace

void Utf8Stream::push(std::string_view bytes, std::string& out) {
    // First the character begun earlier: at most three more bytes belong to it.
    while (n_held_ > 0 && !bytes.empty()) {
        held_[n_held_] = bytes.front();
        const Sequence s = sequence_at({held_, n_held_ + 1});
        if (s.kind == Sequence::Kind::broken) {
            out += kReplacement; // the new byte is not part of it and is looked at again
            n_held_ = 0;
            break;
        }
        bytes.remove_prefix(1);
        ++n_held_;
        if (s.kind == Sequence::Kind::whole) {
            out.append(held_, n_held_);
            n_held_ = 0;
        }
    }
    std::size_t begin = 0; // of well-formed bytes not yet appended
    std::size_t at = 0;
    while (at < bytes.size()) {
        const Sequence s = sequence_at(bytes.substr(at));
        if (s.kind == Sequence::Kind::whole) {
            at += s.bytes;
            continue;
        }
        out += bytes.substr(begin, at - begin);
        if (s.kind == Sequence::Kind::partial) {
            BLOOM_DCHECK(s.bytes == bytes.size() - at);
            n_held_ = bytes.copy(held_, s.bytes, at);
        } else {
            out += kReplacement;
        }
        at += s.bytes;
        begin = at;
    }
    out += bytes.substr(begin);
}

void Utf8Stream::finish(std::string& out) {
    if (n_held_ > 0) out += kReplacement;
    n_held_ = 0;
}

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool answer)
    : tokenizer_(std::move(tokenizer)), strip_space_(answer && tokenizer_->strips_leading_space()) {
}

void Detokenizer::push(std::int32_t id, std::string& out) {
    if (tokenizer_->is_control(id)) return;
    std::string_view bytes = tokenizer_->bytes_of(id);
    if (bytes.empty()) return;
    if (strip_space_ && bytes.front() == ' ') bytes.remove_prefix(1);
    strip_space_ = false;
    stream_.push(bytes, out);
}

void Detokenizer::finish(std::string& out) {
    stream_.finish(out);
}

} // namespace bloom::text
