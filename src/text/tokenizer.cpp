#include <algorithm>
#include <array>
#include <utility>

#include <bloom/base/check.hpp>
#include <bloom/text/nfc.hpp>
#include <bloom/text/tokenizer.hpp>
#include <bloom/text/unicode.hpp>

#include "tokenizer_impl.hpp"

namespace bloom::text {
namespace {

/// What a thread keeps between encodes: buffers, and the words of the tokenizers it used last.
struct ThreadState {
    static constexpr std::size_t kCaches = 4;
    /// Buffers with more items are given back after the encode that needed them.
    static constexpr std::size_t kKeepItems = std::size_t{1} << 16;

    struct Cache {
        std::uint64_t serial = 0; ///< 0: unused
        std::uint64_t last_use = 0;
        WordCache words;
    };

    WordCache& cache_for(std::uint64_t serial) {
        ++clock;
        Cache* oldest = &caches[0];
        for (Cache& cache : caches) {
            if (cache.serial == serial) {
                cache.last_use = clock;
                return cache.words;
            }
            if (cache.last_use < oldest->last_use) oldest = &cache;
        }
        oldest->words.clear();
        oldest->serial = serial;
        oldest->last_use = clock;
        return oldest->words;
    }

    void trim() {
        const auto give_back = [](auto& buffer) {
            if (buffer.capacity() > kKeepItems) buffer = {};
        };
        give_back(merge.nodes);
        give_back(merge.heap);
        give_back(symbols);
        give_back(pieces);
        give_back(normalized);
        give_back(prefixed);
    }

    std::array<Cache, kCaches> caches;
    std::uint64_t clock = 0;
    MergeScratch merge;
    std::vector<std::int32_t> symbols;
    std::vector<ByteRange> pieces;
    std::string normalized;
    std::string prefixed;
};

ThreadState& thread_state() {
    thread_local ThreadState state;
    return state;
}

/// One encode: walks the text and appends ids.
class Encoder {
public:
    Encoder(const Tokenizer::Impl& impl, const EncodeOptions& options,
            std::vector<std::int32_t>& out)
        : impl_(impl), options_(options), out_(out), state_(thread_state()),
          cache_(state_.cache_for(impl.serial)) {
        state_.merge.steps = 0;
    }

    void run(std::string_view text) {
        const bool bos = options_.add_special && impl_.add_bos;
        if (bos) out_.push_back(impl_.bos_id);
        raw_text(text, bos);
        if (options_.add_special && impl_.add_eos) out_.push_back(impl_.eos_id);
        if (options_.stats != nullptr) {
            options_.stats->scan_steps += scan_steps_;
            options_.stats->merge_steps += state_.merge.steps;
            options_.stats->words += n_words_;
            options_.stats->cache_hits += n_cache_hits_;
        }
        state_.trim();
    }

private:
    /// Added tokens of the raw text, and what lies between them.
    void raw_text(std::string_view text, bool after_bos) {
        const SpecialTokens::Filter filter{options_.parse_special, options_.user_ranges};
        for (std::size_t at = 0; at < text.size();) {
            const auto match = impl_.specials.find(text, at, filter);
            const std::size_t end = match ? match->range.begin : text.size();
            if (end > at) normalize(text.substr(at, end - at), at);
            if (!match) break;
            // A template may write BOS itself; two of them would measurably hurt.
            const bool second_bos =
                after_bos && match->range.begin == 0 && match->id == impl_.bos_id;
            if (!second_bos) out_.push_back(match->id);
            at = match->range.end;
        }
    }

    /// `begin`: where the piece lies in the whole text.
    void normalize(std::string_view piece, std::size_t begin) {
        const std::size_t end = begin + piece.size();
        if (impl_.normalize_nfc && !nfc_trivial(piece)) {
            scan_steps_ += normalize_nfc(piece, state_.normalized);
            piece = state_.normalized;
        }
        if (impl_.normalized_specials.empty()) return words(piece, begin == 0);
        // Places of the raw text mean nothing in the normalised one, so a piece with any user text
        // in it is treated as user text.
        const auto ranges = options_.user_ranges;
        const auto next = std::partition_point(ranges.begin(), ranges.end(),
                                               [&](const ByteRange& r) { return r.end <= begin; });
        const bool from_user = next != ranges.end() && next->begin < end;
        const SpecialTokens::Filter filter{options_.parse_special && !from_user, {}};
        for (std::size_t at = 0; at < piece.size();) {
            const auto match = impl_.normalized_specials.find(piece, at, filter);
            const std::size_t stop = match ? match->range.begin : piece.size();
            if (stop > at) words(piece.substr(at, stop - at), begin == 0 && at == 0);
            if (!match) break;
            out_.push_back(match->id);
            at = match->range.end;
        }
    }

    void words(std::string_view text, bool at_start) {
        if (impl_.kind != VocabKind::byte_bpe) return characters(text, at_start);
        scan_steps_ += split(impl_.splitters, text, state_.pieces);
        for (const ByteRange piece : state_.pieces) {
            byte_word(text.substr(piece.begin, piece.end - piece.begin));
        }
    }

    /// Emits a word from the cache; whether it was there.
    bool cached(std::string_view word) {
        ++n_words_;
        if (word.size() > WordCache::kMaxWord) return false;
        const auto ids = cache_.find(word);
        if (ids.empty()) return false;
        ++n_cache_hits_;
        out_.insert(out_.end(), ids.begin(), ids.end());
        return true;
    }

    void byte_word(std::string_view word) {
        if (cached(word)) return;
        const std::size_t first = out_.size();
        const std::int32_t whole =
            impl_.ignore_merges ? impl_.words.find(impl_.bytes, word) : std::int32_t{-1};
        if (whole >= 0) {
            out_.push_back(whole);
        } else {
            auto& symbols = state_.symbols;
            symbols.clear();
            for (const char c : word) {
                const std::int32_t id = impl_.byte_ids[static_cast<std::uint8_t>(c)];
                // A byte without a token cannot happen in a complete vocabulary.
                if (id < 0 && impl_.unk_id < 0) continue;
                const std::int32_t symbol = id >= 0 ? id : impl_.unk_id;
                if (symbols.size() >= kShortWord && cuts(symbols.back(), symbol)) flush();
                symbols.push_back(symbol);
            }
            flush();
        }
        cache_.insert(word, std::span(out_).subspan(first));
    }

    /// Whether no merge can ever join what ends with `left` to what begins with `right`.
    bool cuts(std::int32_t left, std::int32_t right) const noexcept {
        return impl_.can_cut && !impl_.joinable.contains(left, right);
    }

    /// Merges the symbols collected so far and emits them.
    void flush() {
        merge_word(impl_.merges, state_.symbols, state_.merge);
        for (const std::int32_t symbol : state_.symbols)
            emit(symbol);
        state_.symbols.clear();
    }

    void emit(std::int32_t symbol) {
        const std::size_t n_tokens = impl_.bytes.size();
        if (static_cast<std::size_t>(symbol) < n_tokens) {
            out_.push_back(symbol);
            return;
        }
        std::string utf8; // a character that is part of tokens but none itself
        append_utf8(utf8, impl_.extra_chars[static_cast<std::size_t>(symbol) - n_tokens]);
        spell(utf8, out_);
    }

    /// The byte tokens of a character, or one unknown token where they are incomplete.
    void spell(std::string_view utf8, std::vector<std::int32_t>& to) const {
        const auto id = [&](char c) { return impl_.byte_ids[static_cast<std::uint8_t>(c)]; };
        if (std::all_of(utf8.begin(), utf8.end(), [&](char c) { return id(c) >= 0; })) {
            for (const char c : utf8)
                to.push_back(id(c));
        } else if (impl_.unk_id >= 0) {
            to.push_back(impl_.unk_id);
        }
    }

    /// Neighbouring unknown tokens become one. Done after the parts are joined: what a part gives
    /// may not depend on its neighbours, or the cache would carry it elsewhere.
    void fuse_unknown(std::size_t first) {
        const auto begin = out_.begin() + static_cast<std::ptrdiff_t>(first);
        const auto both_unknown = [&](std::int32_t a, std::int32_t b) {
            return a == impl_.unk_id && b == impl_.unk_id;
        };
        out_.erase(std::unique(begin, out_.end(), both_unknown), out_.end());
    }

    /// A text of a character vocabulary is one word; it is cut where no merge can join.
    void characters(std::string_view text, bool at_start) {
        if (impl_.space_prefix == SpacePrefix::always ||
            (impl_.space_prefix == SpacePrefix::first && at_start)) {
            state_.prefixed = " ";
            state_.prefixed += text;
            text = state_.prefixed;
        }
        const std::size_t first = out_.size();
        auto& symbols = state_.symbols;
        symbols.clear();
        std::size_t part = 0; // start of the bytes that `symbols` stand for
        for (std::size_t at = 0; at < text.size();) {
            const Char c = decode_char(text, at);
            ++scan_steps_;
            const std::int32_t symbol = impl_.chars.find(c.cp);
            const std::string_view bytes = text.substr(at, c.bytes);
            const std::size_t n_before = symbols.size();
            const std::int32_t before = symbols.empty() ? -1 : symbols.back();
            if (symbol >= 0) {
                symbols.push_back(symbol);
            } else {
                spell(bytes, symbols);
            }
            if (before >= 0 && symbols.size() > n_before && cuts(before, symbols[n_before])) {
                carry_.assign(symbols.begin() + static_cast<std::ptrdiff_t>(n_before),
                              symbols.end());
                symbols.resize(n_before);
                part_done(text.substr(part, at - part));
                symbols.swap(carry_);
                part = at;
            }
            at += c.bytes;
        }
        part_done(text.substr(part));
        if (impl_.unk_id >= 0) fuse_unknown(first);
    }

    void part_done(std::string_view bytes) {
        if (bytes.empty()) return;
        if (cached(bytes)) {
            state_.symbols.clear();
            return;
        }
        const std::size_t first = out_.size();
        flush();
        cache_.insert(bytes, std::span(out_).subspan(first));
    }

    const Tokenizer::Impl& impl_;
    const EncodeOptions& options_;
    std::vector<std::int32_t>& out_;
    ThreadState& state_;
    WordCache& cache_;
    std::vector<std::int32_t> carry_;
    std::uint64_t scan_steps_ = 0;
    std::uint64_t n_words_ = 0;
    std::uint64_t n_cache_hits_ = 0;
};

} // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::create(VocabSpec spec) {
    BLOOM_TRY(std::unique_ptr<const Impl> impl, Impl::build(std::move(spec)));
    return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

Result<> Tokenizer::encode(std::string_view text, const EncodeOptions& options,
                           std::vector<std::int32_t>& out) const {
    if (text.size() > kMaxEncodeBytes) {
        return Error{Code::too_large, "the text is too long to be tokenized at once"};
    }
    std::size_t last = 0;
    for (const ByteRange& range : options.user_ranges) {
        if (range.begin < last || range.end < range.begin || range.end > text.size()) {
            return Error{Code::invalid_argument, "the user ranges are not sorted within the text"};
        }
        last = range.end;
    }
    Encoder(*impl_, options, out).run(text);
    return {};
}

Result<std::size_t> Tokenizer::count(std::string_view text, const EncodeOptions& options) const {
    std::vector<std::int32_t> ids;
    BLOOM_OK(encode(text, options, ids));
    return ids.size();
}

std::string_view Tokenizer::bytes_of(std::int32_t id) const noexcept {
    if (id < 0 || static_cast<std::size_t>(id) >= impl_->bytes.size()) return {};
    return impl_->bytes[static_cast<std::size_t>(id)];
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool with_control) const {
    std::string out;
    for (const std::int32_t id : ids) {
        if (with_control || !is_control(id)) out += bytes_of(id);
    }
    return out;
}

TokenType Tokenizer::type_of(std::int32_t id) const noexcept {
    if (id < 0 || static_cast<std::size_t>(id) >= impl_->types.size()) return TokenType::unused;
    return impl_->types[static_cast<std::size_t>(id)];
}

bool Tokenizer::is_control(std::int32_t id) const noexcept {
    const TokenType type = type_of(id);
    return type == TokenType::control || type == TokenType::unknown;
}

std::optional<std::int32_t> Tokenizer::token_id(std::string_view text) const noexcept {
    const std::int32_t id = impl_->by_text.find(impl_->bytes, text);
    return id < 0 ? std::nullopt : std::optional(id);
}

std::int32_t Tokenizer::n_tokens() const noexcept {
    return static_cast<std::int32_t>(impl_->bytes.size());
}

std::optional<std::int32_t> Tokenizer::bos() const noexcept {
    return impl_->bos_id < 0 ? std::nullopt : std::optional(impl_->bos_id);
}

std::optional<std::int32_t> Tokenizer::eos() const noexcept {
    return impl_->eos_id < 0 ? std::nullopt : std::optional(impl_->eos_id);
}

bool Tokenizer::adds_bos() const noexcept {
    return impl_->add_bos;
}

bool Tokenizer::strips_leading_space() const noexcept {
    return impl_->space_prefix != SpacePrefix::never;
}

std::span<const std::int32_t> Tokenizer::stop_ids() const noexcept {
    return impl_->stop_ids;
}

std::span<const std::int32_t> Tokenizer::suppressed_ids() const noexcept {
    return impl_->suppress_ids;
}

bool Tokenizer::is_stop(std::int32_t id) const noexcept {
    return std::binary_search(impl_->stop_ids.begin(), impl_->stop_ids.end(), id);
}

std::span<const std::string_view> Tokenizer::special_token_texts() const noexcept {
    return impl_->special_texts;
}

} // namespace bloom::text
