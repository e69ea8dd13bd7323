#include <algorithm>

#include <bloom/base/check.hpp>
#include <bloom/text/output_parser.hpp>

#include "text/output/grammar.hpp"

namespace bloom::text {
namespace {

constexpr std::string_view kThinkOpen = "<think>";
constexpr std::string_view kThinkClose = "</think>";
constexpr std::string_view kChannelOpen = "<|channel>";
constexpr std::string_view kChannelClose = "<channel|>";
constexpr std::string_view kFunctionOpen = "<function=";
constexpr std::string_view kPythonTag = "<|python_tag|>";
/// What Gemma may write again behind its calls.
constexpr std::string_view kGemmaCallClose = "<tool_call|>";
constexpr std::string_view kGemmaHandOver = "<|tool_response>";
/// Line feeds between the end of thinking and the answer.
constexpr std::uint32_t kLinesAfterThinking = 2;

std::string_view tool_opening(OutputFormat format) noexcept {
    switch (format) {
    case OutputFormat::hermes_json:
    case OutputFormat::qwen_xml:
        return "<tool_call>";
    case OutputFormat::minimax_xml:
        return "<minimax:tool_call>";
    case OutputFormat::gemma:
        return "<|tool_call>";
    case OutputFormat::llama_json:
        return kPythonTag;
    case OutputFormat::plain:
        break;
    }
    return {};
}

/// The tag that ends a block, where it is one of tags_of().
std::string_view tool_closing(OutputFormat format) noexcept {
    return format == OutputFormat::gemma ? kGemmaCallClose : std::string_view();
}

bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::unique_ptr<ToolGrammar> make_grammar(OutputFormat format,
                                          const std::vector<gen::ToolDefinition>& tools) {
    switch (format) {
    case OutputFormat::hermes_json:
        return make_json_grammar(true, tools);
    case OutputFormat::llama_json:
        return make_json_grammar(false, tools);
    case OutputFormat::qwen_xml:
        return make_xml_grammar(false, tools);
    case OutputFormat::minimax_xml:
        return make_xml_grammar(true, tools);
    case OutputFormat::gemma:
        return make_gemma_grammar();
    case OutputFormat::plain:
        break;
    }
    return nullptr;
}

} // namespace

void ParsedOutput::add(PieceKind kind, std::int32_t tool_index, std::string_view bytes) {
    const auto at = static_cast<std::uint32_t>(text.size());
    text.append(bytes);
    const auto end = static_cast<std::uint32_t>(text.size());
    const bool mergeable = kind != PieceKind::tool_begin && kind != PieceKind::tool_end;
    if (mergeable && !pieces.empty() && pieces.back().kind == kind &&
        pieces.back().tool_index == tool_index && pieces.back().end == at) {
        pieces.back().end = end;
        return;
    }
    pieces.push_back({kind, tool_index, at, end});
}

std::vector<std::string_view> tags_of(OutputFormat format) {
    std::vector<std::string_view> out;
    if (format == OutputFormat::gemma) {
        out = {kChannelOpen, kChannelClose};
    } else {
        out = {kThinkOpen, kThinkClose};
    }
    if (const std::string_view tool = tool_opening(format); !tool.empty()) out.push_back(tool);
    if (format == OutputFormat::gemma) out.insert(out.end(), {kGemmaCallClose, kGemmaHandOver});
    return out;
}

OutputParser::OutputParser(const OutputParserOptions& options)
    : format_(options.format), raw_(options.raw_reasoning), thinks_first_(options.thinks_first),
      tools_(!options.tools.empty() && options.format != OutputFormat::plain) {
    const bool gemma = format_ == OutputFormat::gemma;
    rules_.push_back({Tag::think_open, gemma ? kChannelOpen : kThinkOpen});
    rules_.push_back({Tag::think_close, gemma ? kChannelClose : kThinkClose});
    if (tools_) {
        rules_.push_back({Tag::tool_open, tool_opening(format_)});
        if (format_ == OutputFormat::qwen_xml) {
            rules_.push_back({Tag::function_open, kFunctionOpen});
        }
        if (gemma) {
            rules_.push_back({Tag::ignored, kGemmaCallClose});
            rules_.push_back({Tag::ignored, kGemmaHandOver});
        }
        grammar_ = make_grammar(format_, options.tools);
    }
    for (TagRule& rule : rules_) {
        for (const TagToken& token : options.tag_tokens) {
            if (token.text == rule.text) rule.id = token.id;
        }
    }
    if (!options.in_reasoning) return;
    state_ = State::reasoning;
    if (raw_) {
        opening_ = gemma ? "<|channel>thought\n" : "<think>\n";
    } else {
        swallow_lf_ = 1;
    }
}

OutputParser::~OutputParser() = default;
OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser& OutputParser::operator=(OutputParser&&) noexcept = default;

std::int32_t OutputParser::n_complete_calls() const noexcept {
    return grammar_ ? grammar_->sink().n_complete() : 0;
}

void OutputParser::push(std::int32_t token, std::string_view bytes, ParsedOutput& out) {
    if (!opening_.empty()) {
        out.add(PieceKind::content, 0, opening_);
        opening_.clear();
    }
    const auto is_tag = [&](const TagRule& rule) { return rule.id == token; };
    if (token >= 0 && state_ == State::tool && grammar_->only_close_missing() &&
        tool_closing(format_) != bytes && std::ranges::any_of(rules_, is_tag)) {
        leave_tool(); // another tag says as much as the closing mark
    }
    if (token >= 0 && state_ != State::tool) {
        for (const TagRule& rule : rules_) {
            if (rule.id != token) continue;
            release_partial(out);
            if (!active(rule) || !handle(rule, out)) emit(bytes, out);
            return;
        }
    }
    take_text(bytes, out);
}

void OutputParser::finish(bool complete, ParsedOutput& out) {
    push(-1, {}, out);
    if (state_ == State::tool) {
        grammar_->sink().attach(&out);
        grammar_->finish(complete);
        state_ = State::content;
        return;
    }
    release_partial(out);
    if (state_ == State::content && !drop_space_) flush_space(out);
    space_.clear();
}

void OutputParser::take_text(std::string_view bytes, ParsedOutput& out) {
    std::size_t at = 0;
    while (at < bytes.size()) {
        if (state_ == State::tool) {
            at += feed_tool(bytes.substr(at), out);
            continue;
        }
        if (partial_.empty()) {
            const bool may_be_json = format_ == OutputFormat::llama_json && tools_ &&
                                     state_ == State::content && !any_content_;
            std::size_t stop = at;
            while (stop < bytes.size() && bytes[stop] != '<' &&
                   !(may_be_json && !is_space(bytes[stop]))) {
                ++stop;
            }
            if (stop > at) emit(bytes.substr(at, stop - at), out);
            at = stop;
            if (at >= bytes.size()) return;
            if (bytes[at] != '<') {
                if (bytes[at] == '{') {
                    enter_tool({}, out);
                } else {
                    any_content_ = true; // an answer in words: no longer a possible call
                }
                continue;
            }
        }
        take_byte(bytes[at++], out);
    }
}

/// One byte of what may be a tag.
void OutputParser::take_byte(char c, ParsedOutput& out) {
    partial_ += c;
    while (!partial_.empty()) {
        bool prefix = false;
        if (const TagRule* rule = match(partial_, prefix)) {
            partial_.clear();
            if (!handle(*rule, out)) emit(rule->text, out);
            return;
        }
        if (prefix) return;
        // No tag begins here; one may begin further on.
        std::size_t next = partial_.find('<', 1);
        if (next == std::string::npos) next = partial_.size();
        const std::string text = partial_.substr(0, next); // short: a tag's worth
        partial_.erase(0, next);
        emit(text, out);
    }
}

/// The rule whose text this is, else whether it begins one.
const OutputParser::TagRule* OutputParser::match(std::string_view text, bool& prefix) const {
    for (const TagRule& rule : rules_) {
        if (rule.id >= 0 || !active(rule) || !rule.text.starts_with(text)) continue;
        if (rule.text.size() == text.size()) return &rule;
        prefix = true;
    }
    return nullptr;
}

/// Whether the state reacts to the tag at all.
bool OutputParser::active(const TagRule& rule) const noexcept {
    const bool thinking = state_ == State::reasoning;
    switch (rule.tag) {
    case Tag::think_open:
    case Tag::think_close:
        return true;
    case Tag::tool_open:
        // Qwen's XML calls and Gemma's end thinking; elsewhere thoughts may mention the tag.
        return !thinking || format_ == OutputFormat::qwen_xml || format_ == OutputFormat::gemma;
    case Tag::function_open:
        return !thinking;
    case Tag::ignored:
        // Spelled out, only directly behind a call; the tokens are nowhere meant for the reader.
        return !thinking && (drop_space_ || rule.id >= 0);
    }
    return false;
}

/// Acts on a tag; false when it is ordinary text here.
bool OutputParser::handle(const TagRule& rule, ParsedOutput& out) {
    const bool thinking = state_ == State::reasoning;
    const bool certain = (rule.id >= 0 || format_ == OutputFormat::gemma) && !thinks_first_;
    switch (rule.tag) {
    case Tag::think_open:
        if (thinking) {
            // Doubled. Spelled out, it is that only where thinking has just begun.
            if (raw_ || (!certain && any_reasoning_)) return false;
            space_.clear();
            skip_name_ = format_ == OutputFormat::gemma;
            swallow_lf_ = skip_name_ ? 0 : 1;
            return true;
        }
        // Written as text, the tag counts only where thinking can begin.
        if (!certain && any_content_) return false;
        open_reasoning(rule.text, out);
        return true;
    case Tag::think_close:
        if (!thinking) {
            if (raw_ || (!certain && any_content_)) return false;
            space_.clear();
            swallow_lf_ = kLinesAfterThinking;
            return true; // stray
        }
        close_reasoning(rule.text, out);
        return true;
    case Tag::tool_open:
    case Tag::function_open:
        enter_tool(rule.text, out);
        return true;
    case Tag::ignored:
        return true;
    }
    return false;
}

void OutputParser::open_reasoning(std::string_view tag, ParsedOutput& out) {
    if (any_content_) flush_space(out);
    space_.clear();
    state_ = State::reasoning;
    any_reasoning_ = false;
    drop_space_ = false;
    if (raw_) {
        out.add(PieceKind::content, 0, tag);
        return;
    }
    skip_name_ = format_ == OutputFormat::gemma;
    swallow_lf_ = skip_name_ ? 0 : 1;
}

void OutputParser::close_reasoning(std::string_view tag, ParsedOutput& out) {
    state_ = State::content;
    skip_name_ = false;
    if (raw_) {
        flush_space(out);
        out.add(PieceKind::content, 0, tag);
        return;
    }
    space_.clear();
    swallow_lf_ = kLinesAfterThinking;
}

void OutputParser::enter_tool(std::string_view opening, ParsedOutput& out) {
    // Hidden thoughts may only mention the tag: then they go on.
    from_reasoning_ = state_ == State::reasoning && !raw_;
    if (state_ == State::reasoning && raw_) flush_space(out);
    if (drop_space_) space_.clear();
    swallow_lf_ = 0;
    skip_name_ = false;
    state_ = State::tool;
    grammar_->sink().attach(&out);
    grammar_->sink().set_text_kind(from_reasoning_ ? PieceKind::reasoning : PieceKind::content);
    grammar_->enter(space_, opening);
    space_.clear();
}

/// Hands bytes to the grammar; how many it took.
std::size_t OutputParser::feed_tool(std::string_view bytes, ParsedOutput& out) {
    BLOOM_CHECK(grammar_ != nullptr);
    grammar_->sink().attach(&out);
    std::size_t n = 0;
    bool ended = false;
    while (!ended && n < bytes.size()) {
        if (!grammar_->feed(bytes[n])) {
            ended = true;
        } else {
            ++n;
            ended = grammar_->done();
        }
    }
    if (ended) {
        leave_tool();
        if (const std::string back = grammar_->take_back(); !back.empty()) take_text(back, out);
    }
    return n;
}

/// A block of calls, or what looked like one, is over.
void OutputParser::leave_tool() {
    if (from_reasoning_ && grammar_->was_text()) {
        state_ = State::reasoning;
        any_reasoning_ = true;
        return;
    }
    state_ = State::content;
    drop_space_ = !grammar_->was_text();
    any_content_ = any_content_ || grammar_->was_text();
    // What follows a call or was none is an answer in words, not another bare JSON call.
    if (format_ == OutputFormat::llama_json) any_content_ = true;
}

/// Text of the current state, without the white space that a following tag would swallow.
void OutputParser::emit(std::string_view bytes, ParsedOutput& out) {
    if (skip_name_) {
        const std::size_t end = bytes.find('\n');
        if (end == std::string_view::npos) return;
        skip_name_ = false;
        bytes.remove_prefix(end + 1);
    }
    while (swallow_lf_ > 0 && !bytes.empty()) {
        if (bytes.front() != '\n') {
            swallow_lf_ = 0;
            break;
        }
        bytes.remove_prefix(1);
        --swallow_lf_;
    }
    if (bytes.empty()) return;
    const bool thinking = state_ == State::reasoning;
    const bool hold = thinking ? !raw_ : tools_ || !any_content_;
    std::size_t end = bytes.size();
    while (hold && end > 0 && is_space(bytes[end - 1]))
        --end;
    if (end > 0) {
        if (drop_space_) {
            space_.clear();
            const std::size_t first = bytes.find_first_not_of(" \t\r\n");
            bytes.remove_prefix(first);
            end -= first;
            drop_space_ = false;
        }
        flush_space(out);
        const bool hidden = thinking && !raw_;
        out.add(hidden ? PieceKind::reasoning : PieceKind::content, 0, bytes.substr(0, end));
        (thinking ? any_reasoning_ : any_content_) = true;
    }
    space_.append(bytes.substr(end));
}

void OutputParser::flush_space(ParsedOutput& out) {
    if (space_.empty()) return;
    const bool hidden = state_ == State::reasoning && !raw_;
    out.add(hidden ? PieceKind::reasoning : PieceKind::content, 0, space_);
    space_.clear();
}

void OutputParser::release_partial(ParsedOutput& out) {
    if (partial_.empty()) return;
    const std::string text = std::exchange(partial_, {});
    emit(text, out);
}

} // namespace bloom::text
