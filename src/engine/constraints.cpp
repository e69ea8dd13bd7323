#include "engine/constraints.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace bloom::engine {
namespace {

/// Everything that make_constraint() looks at, without ambiguity.
std::string key_of(const text::ConstraintRequest& r) {
    std::string out;
    const auto flag = [&](auto value) { out += static_cast<char>('0' + static_cast<int>(value)); };
    const auto part = [&](std::string_view text) {
        out += std::to_string(text.size());
        out += ':';
        out += text;
    };
    flag(r.calls);
    flag(r.in_reasoning);
    flag(r.may_think);
    flag(r.format->kind);
    flag(r.format->strict);
    part(r.format->schema);
    flag(r.tmpl->tool_choice);
    flag(r.tmpl->parallel_tool_calls);
    part(r.tmpl->tool_name);
    for (const gen::ToolDefinition& tool : r.tmpl->tools) {
        flag(tool.strict);
        part(tool.name);
        part(tool.parameters);
    }
    return out;
}

} // namespace

Result<> Constraints::prepare() {
    if (vocab_) return {};
    std::vector<std::int32_t> tags;
    for (const std::string_view tag : text::constraint_tags(format_)) {
        if (const auto id = tokenizer_->token_id(tag)) tags.push_back(*id);
    }
    thinking_end_ = tokenizer_->token_id(text::thinking_end(format_)).value_or(-1);
    BLOOM_TRY(vocab_, text::GrammarVocab::create(*tokenizer_, tags, n_rows_));
    return {};
}

Result<Constraints::Found> Constraints::find(const text::ConstraintRequest& request) {
    if (!text::wants_constraint(request)) return Found{};
    std::string key = key_of(request);
    const std::size_t hash = std::hash<std::string>{}(key);
    ++n_uses_;
    for (Kept& k : kept_) {
        if (k.hash != hash || k.key != key) continue;
        k.used = n_uses_;
        return Found{k.grammar, false};
    }
    BLOOM_OK(prepare());
    BLOOM_TRY(std::shared_ptr<const text::Grammar> grammar, text::make_constraint(request));
    if (!grammar) return Found{};
    BLOOM_TRY(std::shared_ptr<text::BoundGrammar> bound,
              text::BoundGrammar::create(std::move(grammar), vocab_));
    if (kept_.size() == kMaxKeptGrammars) {
        kept_.erase(std::ranges::min_element(kept_, {}, &Kept::used)); // its requests keep it alive
    }
    kept_.push_back({std::move(key), hash, n_uses_, bound});
    return Found{std::move(bound), true};
}

} // namespace bloom::engine
