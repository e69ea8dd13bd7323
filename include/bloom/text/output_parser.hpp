#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/gen/generation.hpp>
#include <bloom/text/chat_template.hpp>

/// Takes a model's answer apart while it is generated: reasoning, visible text, tool calls.
namespace bloom::text {

enum class PieceKind : std::uint8_t {
    reasoning,  ///< thinking
    content,    ///< visible answer
    tool_begin, ///< text: the function's name
    tool_args,  ///< text: a fragment of the JSON arguments; all fragments of a call are one object
    tool_end,   ///< the call is complete
};

/// One event; its text is bytes [begin, end) of ParsedOutput::text.
struct Piece {
    PieceKind kind = PieceKind::content;
    std::int32_t tool_index = 0; ///< consecutive from 0, for the three tool kinds
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
};

/// Collects events over one or more pushes; clear() keeps the memory.
struct ParsedOutput {
    std::vector<Piece> pieces;
    std::string text;

    void clear() noexcept {
        pieces.clear();
        text.clear();
    }

    std::string_view text_of(const Piece& piece) const noexcept {
        return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
    }

    /// Appends; runs of the same kind become one piece.
    void add(PieceKind kind, std::int32_t tool_index, std::string_view bytes);
};

/// A tag that is one token of the vocabulary.
struct TagToken {
    std::string text;
    std::int32_t id = -1;
};

/// The tags that an output format reacts to: ask the vocabulary for each of them.
std::vector<std::string_view> tags_of(OutputFormat format);

struct OutputParserOptions {
    OutputFormat format = OutputFormat::plain;
    /// Tags with an id are recognised by it and only by it; the others by their text.
    std::vector<TagToken> tag_tokens;
    /// The prompt ended inside an open think tag (RenderedPrompt::in_reasoning).
    bool in_reasoning = false;
    /// Leave thinking where it is, tags included; an opening tag of the prompt comes first.
    bool raw_reasoning = false;
    /// Thinking counts only before anything else, also where its tags are tokens: the continuation
    /// of a text may be about such tags.
    bool thinks_first = false;
    /// Functions that may be called, with their schemas; empty: call markup is ordinary text.
    std::vector<gen::ToolDefinition> tools;
};

class ToolGrammar;

/// Streaming state machine. Bytes arrive as whole code points (behind the detokenizer). Text that
/// may still turn out to be a tag, and white space that a tag would swallow, is held back; finish()
/// releases it. What comes out does not depend on how the bytes were cut.
/// Memory: in steady state a push allocates nothing once the buffers have grown.
/// Errors: none; whatever a model writes is text of some kind. Thread: one at a time.
class OutputParser {
public:
    explicit OutputParser(const OutputParserOptions& options);
    ~OutputParser();
    OutputParser(OutputParser&&) noexcept;
    OutputParser& operator=(OutputParser&&) noexcept;

    /// One token's bytes; `token` may be -1 for text without one. Events are appended to `out`.
    void push(std::int32_t token, std::string_view bytes, ParsedOutput& out);

    /// The answer is over. With `complete` (the model ended by itself) a call that only misses its
    /// closing tags is closed; otherwise (length limit) it stays open.
    void finish(bool complete, ParsedOutput& out);

    /// Now inside reasoning: its tokens count as reasoning tokens.
    bool in_reasoning() const noexcept { return state_ == State::reasoning; }

    /// Now inside what is a call or may become one.
    bool in_call() const noexcept { return state_ == State::tool; }

    /// Bytes at the end of what was pushed that are held back, calls apart.
    std::size_t held() const noexcept { return partial_.size() + space_.size(); }

    /// Calls that have ended.
    std::int32_t n_complete_calls() const noexcept;

private:
    enum class State : std::uint8_t { content, reasoning, tool };
    enum class Tag : std::uint8_t { think_open, think_close, tool_open, function_open, ignored };

    struct TagRule {
        Tag tag = Tag::ignored;
        std::string_view text;
        std::int32_t id = -1; ///< recognised by token when not negative
    };

    void take_text(std::string_view bytes, ParsedOutput& out);
    void take_plain(std::string_view bytes, ParsedOutput& out);
    void take_byte(char c, ParsedOutput& out);
    std::size_t feed_tool(std::string_view bytes, ParsedOutput& out);
    void enter_tool(std::string_view first, ParsedOutput& out);
    void leave_tool();
    const TagRule* match(std::string_view text, bool& prefix) const;
    bool active(const TagRule& rule) const noexcept;
    bool handle(const TagRule& rule, ParsedOutput& out);
    void open_reasoning(std::string_view tag, ParsedOutput& out);
    void close_reasoning(std::string_view tag, ParsedOutput& out);
    void emit(std::string_view bytes, ParsedOutput& out);
    void flush_space(ParsedOutput& out);
    void release_partial(ParsedOutput& out);

    OutputFormat format_;
    bool raw_;
    bool thinks_first_;
    bool tools_;
    std::vector<TagRule> rules_;
    std::unique_ptr<ToolGrammar> grammar_;
    State state_ = State::content;
    std::string partial_;          ///< may be the beginning of a tag
    std::string space_;            ///< white space that a tag would swallow
    std::string opening_;          ///< raw mode: the tag that the prompt opened
    std::uint32_t swallow_lf_ = 0; ///< line feeds to drop before the next text
    bool skip_name_ = false;       ///< inside a channel's name
    bool drop_space_ = false;      ///< white space so far is only between calls
    bool any_content_ = false;     ///< something visible has been written
    bool any_reasoning_ = false;   ///< the thinking that is open has some text
    bool from_reasoning_ = false;  ///< hidden thinking was open where a possible call began
};

} // namespace bloom::text
