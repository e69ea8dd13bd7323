#include "engine/constraints.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include <bloom/base/bytes.hpp>
#include <bloom/crypto/digest.hpp>

namespace bloom::engine {
namespace {

/// Everything that make_constraint() looks at, without ambiguity.
std::string all_of(const text::ConstraintRequest& r) {
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

std::string Constraints::key_of(const text::ConstraintRequest& request) {
    if (!text::wants_constraint(request)) return {};
    const crypto::Sha256 digest = crypto::sha256(as_bytes(all_of(request)));
    return {digest.begin(), digest.end()};
}

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

/// False where there is no thread to be had.
bool Constraints::start(const std::string& key, const text::ConstraintRequest& request,
                        const std::shared_ptr<const gen::Generation>& owner) {
    try {
        job_ = Job{key, std::async(std::launch::async, [request, owner] {
                       return text::make_constraint(request); // which refers to the owner
                   })};
    } catch (const std::system_error&) {
        return false;
    }
    return true;
}

Result<Constraints::Found> Constraints::keep(std::string key, Made made) {
    BLOOM_TRY(std::shared_ptr<const text::Grammar> grammar, std::move(made));
    if (!grammar) return Found{};
    BLOOM_TRY(std::shared_ptr<text::BoundGrammar> bound,
              text::BoundGrammar::create(std::move(grammar), vocab_));
    if (kept_.size() == kMaxKeptGrammars) {
        kept_.erase(std::ranges::min_element(kept_, {}, &Kept::used)); // its requests keep it alive
    }
    kept_.push_back({std::move(key), n_uses_, bound});
    return Found{std::move(bound), true, false};
}

Result<Constraints::Found> Constraints::find(const std::string& key,
                                             const text::ConstraintRequest& request,
                                             const std::shared_ptr<const gen::Generation>& owner,
                                             bool aside) {
    if (key.empty()) return Found{};
    ++n_uses_;
    for (Kept& k : kept_) {
        if (k.key != key) continue;
        k.used = n_uses_;
        return Found{k.grammar, false, false};
    }
    BLOOM_OK(prepare());
    if (job_) {
        const bool ours = job_->key == key;
        const bool ready =
            job_->made.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
        if (aside && !ready) return Found{{}, false, true};
        if (ours || ready) {
            Job done = std::move(*job_);
            job_.reset();
            Result<Found> kept = keep(std::move(done.key), done.made.get());
            // Whoever wanted another one may have gone; if not, it finds it, or its error again.
            if (ours) return kept;
        }
    }
    if (aside && start(key, request, owner)) return Found{{}, false, true};
    return keep(key, text::make_constraint(request));
}

} // namespace bloom::engine
