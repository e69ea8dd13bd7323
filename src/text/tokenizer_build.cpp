#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/base/text.hpp>
#include <bloom/text/nfc.hpp>
#include <bloom/text/unicode.hpp>

#include "tokenizer_impl.hpp"

namespace bloom::text {
namespace {

/// From the code points of the GPT-2 byte alphabet to bytes: printable Latin-1 stands for itself,
/// the other 68 bytes in order for U+0100 and up. -1 elsewhere.
std::array<std::int16_t, 0x144> byte_alphabet() {
    std::array<std::int16_t, 0x144> bytes;
    bytes.fill(-1);
    std::size_t next = 0x100;
    for (std::int16_t b = 0; b < 256; ++b) {
        const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        bytes[printable ? static_cast<std::size_t>(b) : next++] = b;
    }
    return bytes;
}

/// The byte that `<0xHH>` names, or -1.
int named_byte(std::string_view text) noexcept {
    if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
    const auto bytes = from_hex(text.substr(3, 2));
    return bytes ? (*bytes)[0] : -1;
}

void sort_unique(std::vector<std::int32_t>& ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

class Builder {
public:
    explicit Builder(VocabSpec spec)
        : spec_(std::move(spec)), out_(std::make_unique<Tokenizer::Impl>()) {}

    Result<std::unique_ptr<const Tokenizer::Impl>> run();

private:
    using Impl = Tokenizer::Impl;

    Result<> check_sizes() const;
    Result<> check_ids() const;
    Result<> settle_options();
    Result<> settle_splitters();
    void store_tokens();
    void index_tokens();
    void index_chars();
    Result<> read_merges();
    Result<> derive_merges();
    void find_added();
    void find_stops();

    bool is_char_kind() const noexcept { return spec_.kind != VocabKind::byte_bpe; }

    std::size_t n_tokens() const noexcept { return spec_.tokens.size(); }

    TokenType type(std::size_t id) const noexcept {
        return spec_.types.empty() ? TokenType::normal : spec_.types[id];
    }

    /// What the spelling of an ordinary token or of a part of a merge stands for.
    std::string decode_spelling(std::string_view text) const;
    std::int32_t symbol_of(std::string_view bytes) const noexcept;
    Result<std::int32_t> merge_part(std::string_view spelling, std::size_t rank) const;
    std::int32_t edge_symbol(std::int32_t token, bool last) const noexcept;
    void allow_join(std::int32_t left, std::int32_t right);

    VocabSpec spec_;
    std::unique_ptr<Impl> out_;
    std::array<std::int16_t, 0x144> alphabet_ = byte_alphabet();
};

Result<> Builder::check_sizes() const {
    const auto too_large = [](std::string_view what, std::size_t n, std::size_t limit) -> Result<> {
        return Error{Code::too_large,
                     fmt::format("the vocabulary has {} {}; at most {} are read", n, what, limit)};
    };
    if (n_tokens() == 0) return Error{Code::corrupt, "the vocabulary has no tokens"};
    if (n_tokens() > kMaxTokens) return too_large("tokens", n_tokens(), kMaxTokens);
    if (spec_.merges.size() > kMaxMerges)
        return too_large("merges", spec_.merges.size(), kMaxMerges);
    if (!spec_.types.empty() && spec_.types.size() != n_tokens()) {
        return Error{Code::corrupt, fmt::format("the vocabulary has {} tokens but {} token types",
                                                n_tokens(), spec_.types.size())};
    }
    if (spec_.kind == VocabKind::spm && spec_.scores.size() != n_tokens()) {
        return Error{Code::corrupt, fmt::format("the vocabulary has {} tokens but {} scores",
                                                n_tokens(), spec_.scores.size())};
    }
    for (std::size_t id = 0; id < n_tokens(); ++id) {
        const TokenType t = type(id);
        if (t < TokenType::normal || t > TokenType::byte) {
            return Error{Code::corrupt,
                         fmt::format("token type {} is not known", static_cast<int>(t))};
        }
        const bool ordinary =
            t == TokenType::normal || t == TokenType::unused || t == TokenType::byte;
        const std::size_t limit = ordinary ? kMaxTokenBytes : kMaxAddedTokenBytes;
        const std::size_t n_bytes = spec_.tokens[id].size();
        if (n_bytes > limit) return too_large("bytes in one token", n_bytes, limit);
    }
    return {};
}

Result<> Builder::check_ids() const {
    const auto check = [&](std::string_view what, std::int32_t id, bool optional) -> Result<> {
        if (optional && id == -1) return {};
        if (id >= 0 && static_cast<std::size_t>(id) < n_tokens()) return {};
        return Error{Code::corrupt,
                     fmt::format("the {} id {} is outside the vocabulary of {} tokens", what, id,
                                 n_tokens())};
    };
    BLOOM_OK(check("BOS", spec_.bos_id, true));
    BLOOM_OK(check("EOS", spec_.eos_id, true));
    BLOOM_OK(check("EOT", spec_.eot_id, true));
    BLOOM_OK(check("EOM", spec_.eom_id, true));
    BLOOM_OK(check("unknown-token", spec_.unk_id, true));
    BLOOM_OK(check("padding", spec_.pad_id, true));
    for (const std::int32_t id : spec_.stop_ids)
        BLOOM_OK(check("stop", id, false));
    for (const std::int32_t id : spec_.more_stop_ids)
        BLOOM_OK(check("stop", id, false));
    for (const std::int32_t id : spec_.suppress_ids)
        BLOOM_OK(check("suppressed", id, false));
    for (const AddedTokenRule& rule : spec_.added_rules) {
        BLOOM_OK(check("added-token", rule.id, false));
    }
    return {};
}

Result<> Builder::settle_options() {
    const std::string& pre = spec_.pre;
    const bool llama3 = pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3";
    const bool qwen = pre == "qwen2" || pre == "deepseek-r1-qwen" || pre == "qwen35";
    Impl& out = *out_;
    out.kind = spec_.kind;
    out.bos_id = spec_.bos_id;
    out.eos_id = spec_.eos_id;
    out.unk_id = spec_.unk_id;
    out.ignore_merges = spec_.ignore_merges.value_or(llama3);
    // GGUF does not carry the normaliser; the original tokenizers of these models have it.
    out.normalize_nfc = spec_.normalize_nfc.value_or(qwen);
    const bool bos_by_kind = is_char_kind() || llama3 || pre == "afmoe";
    out.add_bos = spec_.add_bos.value_or(bos_by_kind && spec_.bos_id >= 0);
    // Gemma does not work without BOS, whatever a file says.
    if (pre == "gemma4" && spec_.bos_id >= 0) out.add_bos = true;
    out.add_eos = spec_.add_eos.value_or(false);
    if (out.add_bos && out.bos_id < 0) {
        return Error{Code::corrupt, "the tokenizer asks for a BOS token but names none"};
    }
    if (out.add_eos && out.eos_id < 0) {
        return Error{Code::corrupt, "the tokenizer asks for an EOS token but names none"};
    }
    out.space_prefix = spec_.space_prefix.value_or(
        spec_.kind == VocabKind::spm ? SpacePrefix::always : SpacePrefix::never);
    if (out.normalize_nfc) { // builds the tables now instead of inside the first request
        std::string unused;
        static_cast<void>(text::normalize_nfc("\u00e9", unused));
    }
    return settle_splitters();
}

Result<> Builder::settle_splitters() {
    if (is_char_kind()) return {};
    out_->splitters = std::move(spec_.splitters);
    if (!out_->splitters.empty()) return {};
    if (spec_.pre.empty()) {
        return Error{Code::unsupported, "the tokenizer names no pre-tokenizer"};
    }
    BLOOM_TRY(out_->splitters, splitters_for_pre(spec_.pre));
    return {};
}

std::string Builder::decode_spelling(std::string_view text) const {
    std::string bytes;
    for (std::size_t at = 0; at < text.size();) {
        const Char c = decode_char(text, at);
        if (is_char_kind()) {
            if (c.cp == kSpaceMark) {
                bytes += ' ';
            } else {
                bytes += text.substr(at, c.bytes);
            }
        } else {
            // A character outside the alphabet: the token is plain text.
            if (c.cp >= alphabet_.size() || alphabet_[c.cp] < 0) return std::string(text);
            bytes += static_cast<char>(alphabet_[c.cp]);
        }
        at += c.bytes;
    }
    return bytes;
}

void Builder::store_tokens() {
    Impl& out = *out_;
    std::size_t n_bytes = 0;
    for (const std::string& token : spec_.tokens)
        n_bytes += token.size();
    out.bytes.reserve(n_tokens(), n_bytes);
    out.byte_ids.fill(-1);
    for (std::size_t id = 0; id < n_tokens(); ++id) {
        const std::string& text = spec_.tokens[id];
        const int byte = named_byte(text);
        switch (type(id)) {
        case TokenType::unused:
            out.bytes.add({});
            break;
        case TokenType::control:
        case TokenType::unknown:
        case TokenType::user_defined:
            out.bytes.add(text);
            break;
        case TokenType::byte:
            if (is_char_kind() && byte >= 0) {
                const char value = static_cast<char>(byte);
                out.bytes.add({&value, 1});
                if (out.byte_ids[static_cast<std::size_t>(byte)] < 0) {
                    out.byte_ids[static_cast<std::size_t>(byte)] = static_cast<std::int32_t>(id);
                }
                break;
            }
            [[fallthrough]];
        case TokenType::normal:
            out.bytes.add(decode_spelling(text));
            break;
        }
    }
    out.types = spec_.types;
    out.types.resize(n_tokens(), TokenType::normal);
}

void Builder::index_tokens() {
    Impl& out = *out_;
    out.words.reserve(n_tokens());
    out.by_text.reserve(n_tokens());
    const auto added = [&](std::size_t id) {
        const TokenType t = out.types[id];
        return t == TokenType::control || t == TokenType::unknown || t == TokenType::user_defined;
    };
    for (std::size_t id = 0; id < n_tokens(); ++id) {
        if (added(id)) out.by_text.insert(out.bytes, static_cast<std::int32_t>(id));
    }
    std::vector<bool> in_model(n_tokens());
    for (const AddedTokenRule& rule : spec_.added_rules) {
        // Control tokens are left out: no text may become one by way of merges.
        const auto id = static_cast<std::size_t>(rule.id);
        in_model[id] = rule.in_model && out.types[id] == TokenType::user_defined;
    }
    for (std::size_t id = 0; id < n_tokens(); ++id) {
        if ((added(id) && !in_model[id]) || out.bytes[id].empty()) continue;
        const auto token = static_cast<std::int32_t>(id);
        out.by_text.insert(out.bytes, token);
        if (out.types[id] != TokenType::normal && !in_model[id]) continue;
        // A plain space in a character vocabulary cannot be met: texts have U+2581 there.
        if (is_char_kind() && spec_.tokens[id].find(' ') != std::string::npos) continue;
        out.words.insert(out.bytes, token);
        if (!is_char_kind() && out.bytes[id].size() == 1) {
            std::int32_t& slot = out.byte_ids[static_cast<std::uint8_t>(out.bytes[id][0])];
            if (slot < 0) slot = token;
        }
    }
}

void Builder::index_chars() {
    if (!is_char_kind()) return;
    Impl& out = *out_;
    const auto whole_char = [&](std::size_t id) {
        const std::string_view bytes = out.bytes[id];
        const Char c = decode_char(bytes, 0);
        return c.bytes == bytes.size() && c.cp != kIllFormed ? c.cp : kIllFormed;
    };
    const auto in_words = [&](std::size_t id) {
        return !out.bytes[id].empty() &&
               out.words.find(out.bytes, out.bytes[id]) == static_cast<std::int32_t>(id);
    };
    for (std::size_t id = 0; id < n_tokens(); ++id) {
        if (!in_words(id)) continue;
        if (const char32_t cp = whole_char(id); cp != kIllFormed) {
            out.chars.set(cp, static_cast<std::int32_t>(id));
        }
    }
    if (spec_.kind == VocabKind::spm) {
        // Pairs are looked up by their text, so characters without a token can still take part.
        for (std::size_t id = 0; id < n_tokens(); ++id) {
            if (!in_words(id)) continue;
            const std::string_view bytes = out.bytes[id];
            for (std::size_t at = 0; at < bytes.size();) {
                const Char c = decode_char(bytes, at);
                at += c.bytes;
                if (c.cp == kIllFormed || out.chars.find(c.cp) >= 0) continue;
                out.chars.set(c.cp, static_cast<std::int32_t>(n_tokens() + out.extra_chars.size()));
                out.extra_chars.push_back(c.cp);
            }
        }
    }
    // A text may contain the mark itself; it means a space too.
    if (const std::int32_t space = out.chars.find(' '); space >= 0) {
        out.chars.set(kSpaceMark, space);
    }
}

/// The symbol that stands for these bytes: a character, or a token.
std::int32_t Builder::symbol_of(std::string_view bytes) const noexcept {
    if (is_char_kind()) {
        const Char c = decode_char(bytes, 0);
        if (c.bytes == bytes.size()) return out_->chars.find(c.cp);
    }
    return out_->words.find(out_->bytes, bytes);
}

Result<std::int32_t> Builder::merge_part(std::string_view spelling, std::size_t rank) const {
    if (is_char_kind()) {
        if (const int byte = named_byte(spelling); byte >= 0) {
            const std::int32_t id = out_->byte_ids[static_cast<std::size_t>(byte)];
            if (id >= 0) return id;
        }
    }
    const std::string bytes = decode_spelling(spelling);
    std::int32_t id = symbol_of(bytes);
    if (id < 0) id = out_->by_text.find(out_->bytes, bytes);
    if (id >= 0) return id;
    return Error{Code::corrupt,
                 fmt::format("merge {} needs the token {}, which the vocabulary lacks", rank,
                             quoted(spelling))};
}

/// First or last of the symbols that a token is merged from.
std::int32_t Builder::edge_symbol(std::int32_t token, bool last) const noexcept {
    const auto id = static_cast<std::size_t>(token);
    if (id >= n_tokens() || out_->types[id] == TokenType::byte) return token;
    const std::string_view bytes = out_->bytes[id];
    if (bytes.empty()) return token;
    if (!is_char_kind()) {
        return out_->byte_ids[static_cast<std::uint8_t>(last ? bytes.back() : bytes.front())];
    }
    std::size_t at = 0;
    if (last) {
        at = bytes.size() - 1;
        while (at > 0 && (static_cast<unsigned char>(bytes[at]) & 0xc0) == 0x80)
            --at;
    }
    return out_->chars.find(decode_char(bytes, at).cp);
}

void Builder::allow_join(std::int32_t left, std::int32_t right) {
    out_->joinable.insert(edge_symbol(left, true), edge_symbol(right, false));
}

Result<> Builder::read_merges() {
    Impl& out = *out_;
    out.merges.reserve(spec_.merges.size());
    std::string spelling;
    for (std::size_t rank = 0; rank < spec_.merges.size(); ++rank) {
        const std::string_view merge = spec_.merges[rank];
        const std::size_t space = merge.find(' ', 1);
        if (space == std::string_view::npos || space + 1 == merge.size()) {
            return Error{Code::corrupt,
                         fmt::format("merge {} is not a pair: {}", rank, quoted(merge))};
        }
        const std::string_view left = merge.substr(0, space);
        const std::string_view right = merge.substr(space + 1);
        spelling.assign(left);
        spelling += right;
        BLOOM_TRY(const std::int32_t left_id, merge_part(left, rank));
        BLOOM_TRY(const std::int32_t right_id, merge_part(right, rank));
        BLOOM_TRY(const std::int32_t merged, merge_part(spelling, rank));
        out.merges.insert(left_id, right_id, {static_cast<std::uint32_t>(rank), merged});
        allow_join(left_id, right_id);
        // Tokens of byte tokens do not show their parts in their text.
        const auto is_byte = [&](std::int32_t id) {
            return is_char_kind() && out.types[static_cast<std::size_t>(id)] == TokenType::byte;
        };
        if (is_byte(left_id) || is_byte(right_id)) out.can_cut = false;
    }
    return {};
}

/// SentencePiece has scores instead of merges: two symbols merge when their texts together are a
/// token, the highest score first. So every way to cut a token in two symbols is a pair, ranked by
/// the token's score; equal scores share a rank and leave the choice to the place.
Result<> Builder::derive_merges() {
    Impl& out = *out_;

    struct Pair {
        std::int32_t left, right, merged;
    };

    /// SentencePiece itself stops at 16 characters by default; cutting costs the square of it.
    constexpr std::size_t kMaxPieceBytes = 1024;
    std::vector<Pair> pairs;
    for (std::size_t id = 0; id < n_tokens(); ++id) {
        const std::string_view bytes = out.bytes[id];
        const auto token = static_cast<std::int32_t>(id);
        if (bytes.empty() || out.words.find(out.bytes, bytes) != token) continue;
        if (!std::isfinite(spec_.scores[id])) {
            return Error{Code::corrupt, fmt::format("the score of token {} is not a number", id)};
        }
        if (bytes.size() > kMaxPieceBytes) {
            return Error{Code::too_large,
                         fmt::format("token {} has {} bytes; at most {} are merged", id,
                                     bytes.size(), kMaxPieceBytes)};
        }
        for (std::size_t at = decode_char(bytes, 0).bytes; at < bytes.size();) {
            const std::int32_t left = symbol_of(bytes.substr(0, at));
            const std::int32_t right = symbol_of(bytes.substr(at));
            if (left >= 0 && right >= 0) pairs.push_back({left, right, token});
            at += decode_char(bytes, at).bytes;
        }
    }
    const auto score = [&](const Pair& p) {
        return spec_.scores[static_cast<std::size_t>(p.merged)];
    };
    std::sort(pairs.begin(), pairs.end(),
              [&](const Pair& a, const Pair& b) { return score(a) > score(b); });
    out.merges.reserve(pairs.size());
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        if (i > 0 && score(pairs[i]) != score(pairs[i - 1])) ++rank;
        out.merges.insert(pairs[i].left, pairs[i].right, {rank, pairs[i].merged});
        allow_join(pairs[i].left, pairs[i].right);
    }
    return {};
}

void Builder::find_added() {
    Impl& out = *out_;
    std::vector<AddedTokenRule> rules(n_tokens());
    for (const AddedTokenRule& rule : spec_.added_rules) {
        rules[static_cast<std::size_t>(rule.id)] = rule;
    }
    std::vector<AddedToken> raw;
    std::vector<AddedToken> normalized;
    for (std::size_t id = 0; id < n_tokens(); ++id) {
        const TokenType t = out.types[id];
        const bool special = t == TokenType::control || t == TokenType::unknown;
        if (!special && t != TokenType::user_defined) continue;
        const std::string_view text = spec_.tokens[id];
        if (t == TokenType::control) out.special_texts.push_back(out.bytes[id]);
        const AddedTokenRule& rule = rules[id];
        auto& list = rule.normalized ? normalized : raw;
        list.push_back({static_cast<std::int32_t>(id), text, special, rule.single_word, rule.lstrip,
                        rule.rstrip});
    }
    out.specials = SpecialTokens(raw);
    out.normalized_specials = SpecialTokens(normalized);
}

void Builder::find_stops() {
    // Names of end-of-turn tokens: a GGUF often names only one of several by id.
    static constexpr std::array<std::string_view, 12> kTexts{
        "<|eot_id|>",    "<|im_end|>", "<|end|>",          "<end_of_turn>",
        "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>",  "<EOT>",
        "<turn|>",       "<eos>",      "<|tool_response>", "[e~["};
    // Gemma 4 ends a turn with one and hands over to a tool with the other, which its lists forget.
    static constexpr std::array<std::string_view, 2> kGemmaTexts{"<turn|>", "<|tool_response>"};
    Impl& out = *out_;
    auto& stops = out.stop_ids;
    stops = spec_.stop_ids;
    const auto add = [&](std::string_view text) {
        const std::int32_t id = out.by_text.find(out.bytes, text);
        if (id < 0) return;
        // An ordinary token of that spelling is text, unless the file has no types at all.
        const bool ordinary = out.types[static_cast<std::size_t>(id)] == TokenType::normal;
        if (!ordinary || spec_.types.empty()) stops.push_back(id);
    };
    if (stops.empty()) {
        for (const std::int32_t id : {spec_.eos_id, spec_.eot_id, spec_.eom_id}) {
            if (id >= 0) stops.push_back(id);
        }
        for (const std::string_view text : kTexts)
            add(text);
    }
    for (const std::string_view text : kGemmaTexts)
        add(text);
    stops.insert(stops.end(), spec_.more_stop_ids.begin(), spec_.more_stop_ids.end());
    sort_unique(stops);
    out.suppress_ids = spec_.suppress_ids;
    sort_unique(out.suppress_ids);
}

Result<std::unique_ptr<const Tokenizer::Impl>> Builder::run() {
    static std::atomic<std::uint64_t> next_serial{1};
    BLOOM_OK(check_sizes());
    BLOOM_OK(check_ids());
    BLOOM_OK(settle_options());
    store_tokens();
    index_tokens();
    index_chars();
    if (spec_.kind == VocabKind::spm) {
        BLOOM_OK(derive_merges());
    } else {
        BLOOM_OK(read_merges());
    }
    find_added();
    find_stops();
    out_->serial = next_serial.fetch_add(1, std::memory_order_relaxed);
    return std::unique_ptr<const Impl>(std::move(out_));
}

} // namespace

Result<std::unique_ptr<const Tokenizer::Impl>> Tokenizer::Impl::build(VocabSpec spec) {
    return Builder(std::move(spec)).run();
}

} // namespace bloom::text
