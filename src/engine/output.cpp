#include "engine/output.hpp"

namespace bloom::engine {

ChoiceOutput::ChoiceOutput(std::shared_ptr<const text::Tokenizer> tokenizer,
                           const OutputOptions& options)
    : stops_(options.stops), reasoning_(options.reasoning),
      detokenizer_(std::move(tokenizer), options.chat), stop_(options.stops) {
    if (options.chat) parser_.emplace(options.parser);
}

gen::Event& ChoiceOutput::emit(gen::EventKind kind, std::string_view text, std::int32_t choice,
                               gen::EventBatch& events) {
    // What one token brings of a kind is one event: encoders need not join anything.
    if (!events.empty()) {
        gen::Event& last = events.back();
        if (last.kind == kind && last.choice == choice && kind == gen::EventKind::text_delta &&
            pending_tokens_ == 0) {
            last.text += text;
            return last;
        }
    }
    gen::Event& e = events.emplace_back();
    e.kind = kind;
    e.choice = choice;
    e.text = text;
    e.n_tokens = pending_tokens_;
    pending_tokens_ = 0;
    return e;
}

void ChoiceOutput::take_content(std::string_view text, std::int32_t choice,
                                gen::EventBatch& events) {
    shown_.clear();
    static_cast<void>(stop_.push(text, shown_));
    if (!shown_.empty()) emit(gen::EventKind::text_delta, shown_, choice, events);
}

/// A stop string does not reach across thinking or a call: what is held of it is ordinary text.
void ChoiceOutput::release_held(std::int32_t choice, gen::EventBatch& events) {
    if (stop_.held() == 0 || stopped()) return;
    shown_.clear();
    stop_.finish(shown_);
    if (!shown_.empty()) emit(gen::EventKind::text_delta, shown_, choice, events);
    stop_ = text::StopMatcher(stops_);
}

void ChoiceOutput::take_pieces(std::int32_t choice, gen::EventBatch& events) {
    for (const text::Piece& piece : parsed_.pieces) {
        if (stopped()) break; // nothing after a stop string comes out
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
            break;
        case text::PieceKind::content:
            break;
        }
    }
    parsed_.clear();
}

void ChoiceOutput::push(std::int32_t token, std::int32_t choice, gen::EventBatch& events) {
    ++pending_tokens_;
    text_.clear();
    detokenizer_.push(token, text_);
    if (!parser_) {
        take_content(text_, choice, events);
        return;
    }
    const bool before = parser_->in_reasoning();
    parser_->push(token, text_, parsed_);
    // Tags count as thinking on both ends.
    reasoning_tokens_ += before || parser_->in_reasoning() ? 1 : 0;
    take_pieces(choice, events);
}

void ChoiceOutput::finish(std::int32_t choice, gen::EventBatch& events) {
    if (stopped()) return;
    text_.clear();
    detokenizer_.finish(text_);
    if (parser_) {
        if (!text_.empty()) parser_->push(-1, text_, parsed_);
        parser_->finish(ended_by_model_, parsed_);
        take_pieces(choice, events);
    } else if (!text_.empty()) {
        take_content(text_, choice, events);
    }
    if (stopped()) return;
    shown_.clear();
    stop_.finish(shown_);
    if (!shown_.empty()) emit(gen::EventKind::text_delta, shown_, choice, events);
}

std::string_view ChoiceOutput::stop_string() const noexcept {
    const auto matched = stop_.matched();
    return matched ? (*stops_)[*matched] : std::string_view{};
}

} // namespace bloom::engine
