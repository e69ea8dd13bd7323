#include "engine/output.hpp"

#include <algorithm>

namespace bloom::engine {

ChoiceOutput::ChoiceOutput(std::shared_ptr<const text::Tokenizer> tokenizer,
                           const OutputOptions& options)
    : stops_(options.stops), reasoning_(options.reasoning),
      detokenizer_(std::move(tokenizer), options.chat), parser_(options.parser),
      stop_(options.stops), one_call_(options.one_call), logprobs_(options.logprobs),
      shows_thinking_(options.parser.raw_reasoning) {}

gen::Event& ChoiceOutput::emit(gen::EventKind kind, std::string_view text, std::int32_t choice,
                               gen::EventBatch& events) {
    // What one token brings of a kind is one event: encoders need not join anything.
    if (!events.empty()) {
        gen::Event& last = events.back();
        if (last.kind == kind && last.choice == choice && kind == gen::EventKind::text_delta &&
            pending_tokens_ == 0) {
            last.text += text;
            if (logprobs_) attach_logprobs(last);
            return last;
        }
    }
    gen::Event& e = events.emplace_back();
    e.kind = kind;
    e.choice = choice;
    e.text = text;
    e.n_tokens = pending_tokens_;
    pending_tokens_ = 0;
    if (logprobs_) attach_logprobs(e);
    return e;
}

void ChoiceOutput::show(std::int32_t choice, gen::EventBatch& events) {
    if (shown_.empty()) return;
    n_shown_ += static_cast<std::int64_t>(shown_.size());
    emit(gen::EventKind::text_delta, shown_, choice, events);
}

void ChoiceOutput::take_content(std::string_view text, std::int32_t choice,
                                gen::EventBatch& events) {
    shown_.clear();
    static_cast<void>(stop_.push(text, shown_));
    show(choice, events);
}

/// A stop string does not reach across thinking or a call: what is held of it is ordinary text.
void ChoiceOutput::release_held(std::int32_t choice, gen::EventBatch& events) {
    if (stop_.held() == 0 || stopped()) return;
    shown_.clear();
    stop_.finish(shown_);
    show(choice, events);
    stop_ = text::StopMatcher(stops_);
}

void ChoiceOutput::take_pieces(std::int32_t choice, gen::EventBatch& events) {
    for (const text::Piece& piece : parsed_.pieces) {
        if (stopped() || call_ended_) break; // nothing comes out behind
        const std::string_view text = parsed_.text_of(piece);
        if (piece.kind == text::PieceKind::content) {
            take_content(text, choice, events);
            continue;
        }
        release_held(choice, events);
        switch (piece.kind) {
        case text::PieceKind::reasoning:
            if (reasoning_ != gen::ReasoningMode::hidden) {
                emit(gen::EventKind::reasoning_delta, text, choice, events);
            }
            break;
        case text::PieceKind::tool_begin:
            emit(gen::EventKind::tool_begin, text, choice, events).tool_index = piece.tool_index;
            break;
        case text::PieceKind::tool_args:
            emit(gen::EventKind::tool_args, text, choice, events).tool_index = piece.tool_index;
            break;
        case text::PieceKind::tool_end:
            emit(gen::EventKind::tool_end, {}, choice, events).tool_index = piece.tool_index;
            call_ended_ = one_call_;
            break;
        case text::PieceKind::content:
            break;
        }
    }
    parsed_.clear();
}

/// Gives the parser text_, which `token` brought.
void ChoiceOutput::parse(std::int32_t token, gen::TokenLogprob* logprob) {
    const auto held_before = static_cast<std::int64_t>(parser_.held());
    if (logprobs_ && logprob != nullptr) {
        const std::int64_t end = n_input_ + static_cast<std::int64_t>(text_.size());
        waiting_.push_back({std::move(*logprob), n_input_, end, -1});
        // The first bytes of a character come out with the last one's token.
        if (text_.empty() && detokenizer_.held() > 0) ++waiting_.back().end;
    }
    n_input_ += static_cast<std::int64_t>(text_.size());
    parser_.push(token, text_, parsed_);
    if (logprobs_) place_content(held_before, false);
}

/// Finds the tokens whose text the parser has just given as the answer's. It comes in one run: what
/// is held lies behind it, or, where thinking or a call has begun behind it, it began with what was
/// held before.
void ChoiceOutput::place_content(std::int64_t held_before, bool all_given) {
    std::int64_t n = 0;
    for (const text::Piece& piece : parsed_.pieces)
        n += piece.kind == text::PieceKind::content ? piece.end - piece.begin : 0;
    if (n == 0) return;
    const bool open = parser_.in_call() || (parser_.in_reasoning() && !shows_thinking_);
    const std::int64_t n_pushed = static_cast<std::int64_t>(text_.size());
    const std::int64_t begin = open && !all_given
                                   ? n_input_ - n_pushed - held_before
                                   : n_input_ - static_cast<std::int64_t>(parser_.held()) - n;
    for (Waiting& w : waiting_) {
        if (w.content_at >= 0 || w.end <= begin || w.begin >= begin + n) continue;
        w.content_at = n_content_ + std::max<std::int64_t>(w.begin - begin, 0);
    }
    n_content_ += n;
}

/// Moves what belongs to an event into it.
void ChoiceOutput::attach_logprobs(gen::Event& event) {
    std::size_t n = 0; // that leave, with the event or with nothing
    if (event.kind == gen::EventKind::text_delta) {
        for (std::size_t i = 0; i < waiting_.size(); ++i) {
            if (waiting_[i].content_at >= 0 && waiting_[i].content_at < n_shown_) n = i + 1;
        }
        for (std::size_t i = 0; i < n; ++i) {
            if (waiting_[i].content_at >= 0)
                event.logprobs.push_back(std::move(waiting_[i].logprob));
        }
    } else {
        const std::int64_t known = n_input_ - static_cast<std::int64_t>(parser_.held());
        while (n < waiting_.size() && waiting_[n].content_at < 0 && waiting_[n].end <= known)
            event.logprobs.push_back(std::move(waiting_[n++].logprob));
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(n));
}

void ChoiceOutput::push(std::int32_t token, std::int32_t choice, gen::EventBatch& events,
                        gen::TokenLogprob* logprob) {
    ++pending_tokens_;
    text_.clear();
    detokenizer_.push(token, text_);
    const bool before = parser_.in_reasoning();
    parse(token, logprob);
    // Tags count as thinking on both ends.
    reasoning_tokens_ += before || parser_.in_reasoning() ? 1 : 0;
    take_pieces(choice, events);
}

void ChoiceOutput::finish(std::int32_t choice, gen::EventBatch& events) {
    if (stopped() || call_ended_) return;
    text_.clear();
    detokenizer_.finish(text_);
    n_input_ += static_cast<std::int64_t>(text_.size());
    if (!text_.empty()) parser_.push(-1, text_, parsed_);
    parser_.finish(ended_by_model_, parsed_);
    if (logprobs_) place_content(0, true);
    take_pieces(choice, events);
    if (stopped()) return;
    shown_.clear();
    stop_.finish(shown_);
    show(choice, events);
}

std::string_view ChoiceOutput::stop_string() const noexcept {
    const auto matched = stop_.matched();
    return matched ? (*stops_)[*matched] : std::string_view{};
}

} // namespace bloom::engine
