#include "token_trie.hpp"

#include <algorithm>
#include <utility>

#include <bloom/text/tokenizer.hpp>

namespace bloom::text {
namespace {

using Impl = GrammarVocab::Impl;
using Role = Impl::Role;

std::size_t common_prefix(std::string_view a, std::string_view b) {
    return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                                    a.begin());
}

void sort_roles(Impl& vocab, const Tokenizer& tokenizer, std::span<const std::int32_t> tag_ids) {
    const std::int32_t n = std::min(tokenizer.n_tokens(), vocab.n_rows);
    const auto suppressed = tokenizer.suppressed_ids();
    vocab.roles.assign(static_cast<std::size_t>(std::max(n, 0)), Role::never);
    for (std::int32_t id = 0; id < n; ++id) {
        Role& role = vocab.roles[static_cast<std::size_t>(id)];
        const std::string_view text = tokenizer.bytes_of(id);
        const bool tag = std::find(tag_ids.begin(), tag_ids.end(), id) != tag_ids.end();
        if (std::binary_search(suppressed.begin(), suppressed.end(), id)) continue;
        if (tag || tokenizer.is_control(id)) {
            // A control token can be asked for by name, though never by its letters.
            if (!text.empty()) vocab.tags[std::string(text)].push_back(id);
            role = text.empty() ? Role::never : Role::tag;
        } else if (!text.empty() && text.size() <= kMaxGrammarTokenBytes) {
            role = Role::text;
        }
        if (tokenizer.is_stop(id)) {
            role = Role::stop;
            vocab.stops.push_back(id);
        }
    }
}

void store_bytes(Impl& vocab, const Tokenizer& tokenizer) {
    vocab.ends.reserve(vocab.roles.size());
    for (std::size_t id = 0; id < vocab.roles.size(); ++id) {
        if (vocab.roles[id] == Role::text) {
            vocab.bytes += tokenizer.bytes_of(static_cast<std::int32_t>(id));
            vocab.tokens.push_back(static_cast<std::int32_t>(id));
        }
        vocab.ends.push_back(static_cast<std::uint32_t>(vocab.bytes.size()));
    }
    std::sort(vocab.tokens.begin(), vocab.tokens.end(), [&](std::int32_t a, std::int32_t b) {
        return std::pair(vocab.bytes_of(a), a) < std::pair(vocab.bytes_of(b), b);
    });
}

void build_trie(Impl& vocab) {
    std::vector<std::uint32_t> open; // nodes of the last token
    std::string_view last;
    const auto close = [&](std::size_t depth) {
        for (; open.size() > depth; open.pop_back())
            vocab.nodes[open.back()].skip = static_cast<std::uint32_t>(vocab.nodes.size());
    };
    for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
        const std::string_view text = vocab.bytes_of(vocab.tokens[i]);
        const std::size_t shared = common_prefix(last, text);
        close(shared);
        for (std::size_t depth = shared; depth < text.size(); ++depth) {
            open.push_back(static_cast<std::uint32_t>(vocab.nodes.size()));
            vocab.nodes.push_back({.first_token = static_cast<std::uint32_t>(i),
                                   .byte = static_cast<std::uint8_t>(text[depth]),
                                   .depth = static_cast<std::uint8_t>(depth + 1)});
        }
        vocab.max_token_bytes =
            std::max(vocab.max_token_bytes, static_cast<std::uint32_t>(text.size()));
        last = text;
    }
    close(0);
    const auto n = static_cast<std::uint32_t>(vocab.nodes.size());
    vocab.nodes.push_back(
        {.skip = n + 1, .first_token = static_cast<std::uint32_t>(vocab.tokens.size())});
}

/// Children follow their parents, so from the end every node knows its own before it is asked.
void mark_plain(Impl& vocab) {
    for (std::size_t i = vocab.nodes.size() - 1; i-- > 0;) {
        Impl::Node& node = vocab.nodes[i];
        node.plain = true;
        for (std::size_t child = i + 1; child < node.skip; child = vocab.nodes[child].skip)
            node.plain &= vocab.nodes[child].plain && Impl::is_plain(vocab.nodes[child].byte);
    }
}

} // namespace

Result<std::shared_ptr<const GrammarVocab>>
GrammarVocab::create(const Tokenizer& tokenizer, std::span<const std::int32_t> tag_ids,
                     std::int32_t n_rows) {
    if (n_rows < tokenizer.n_tokens()) {
        return Error{Code::invalid_argument, "logits of " + std::to_string(n_rows) +
                                                 " rows for a vocabulary of " +
                                                 std::to_string(tokenizer.n_tokens()) + " tokens"};
    }
    auto impl = std::make_unique<Impl>();
    impl->n_rows = n_rows;
    sort_roles(*impl, tokenizer, tag_ids);
    store_bytes(*impl, tokenizer);
    build_trie(*impl);
    mark_plain(*impl);
    return std::shared_ptr<const GrammarVocab>(new GrammarVocab(std::move(impl)));
}

GrammarVocab::GrammarVocab(std::unique_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

GrammarVocab::~GrammarVocab() = default;

std::int32_t GrammarVocab::n_rows() const noexcept {
    return impl_->n_rows;
}

} // namespace bloom::text
