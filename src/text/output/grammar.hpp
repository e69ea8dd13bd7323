#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/text/output_parser.hpp>

#include "text/output/coerce.hpp"

namespace bloom::text {

/// Where a grammar puts its calls.
class ToolSink {
public:
    void attach(ParsedOutput* out) noexcept { out_ = out; }

    void begin(std::string_view name) {
        out_->add(PieceKind::tool_begin, ++index_, name);
        open_ = true;
        text_kind_ = PieceKind::content; // a call has ended whatever was before it
    }

    void args(std::string_view json) {
        if (!json.empty()) out_->add(PieceKind::tool_args, index_, json);
    }

    void end() {
        out_->add(PieceKind::tool_end, index_, {});
        open_ = false;
        ++n_complete_;
    }

    /// Markup that turned out to be ordinary text.
    void text(std::string_view bytes) {
        if (!bytes.empty()) out_->add(text_kind_, 0, bytes);
    }

    /// What such text belongs to until a call begins.
    void set_text_kind(PieceKind kind) noexcept { text_kind_ = kind; }

    bool open() const noexcept { return open_; }

    std::int32_t n_complete() const noexcept { return n_complete_; }

private:
    ParsedOutput* out_ = nullptr;
    PieceKind text_kind_ = PieceKind::content;
    std::int32_t index_ = -1;
    std::int32_t n_complete_ = 0;
    bool open_ = false;
};

/// One way of writing calls. A grammar is fed byte by byte from behind the opening tag.
class ToolGrammar {
public:
    virtual ~ToolGrammar() = default;

    /// A block begins behind the white space `lead`, which a call swallows; `opening` is the markup
    /// that began it.
    void enter(std::string_view lead, std::string_view opening) {
        lead_ = lead;
        was_text_ = false;
        start(opening);
    }

    /// The last block was no call: its bytes went out as text.
    bool was_text() const noexcept { return was_text_; }

    /// Takes a byte. False when the block had ended before it and it belongs to what follows.
    virtual bool feed(char c) = 0;
    /// Whether the block is over, all bytes of it having been taken.
    virtual bool done() const noexcept = 0;

    /// All calls of the block are complete, and only its closing mark has not come.
    virtual bool only_close_missing() const noexcept { return false; }

    /// Bytes taken before the one that was refused which belong to what follows, too.
    std::string take_back() { return std::exchange(back_, {}); }

    /// The answer ends inside a block.
    virtual void finish(bool complete) = 0;

    ToolSink& sink() noexcept { return sink_; }

    const ToolSink& sink() const noexcept { return sink_; }

protected:
    virtual void start(std::string_view opening) = 0;

    /// Not a call: `markup` and what stood before it are text.
    void give_text(std::string_view markup) {
        sink_.text(lead_);
        sink_.text(markup);
        lead_.clear();
        was_text_ = true;
    }

    ToolSink sink_;
    std::string back_; ///< see take_back()

private:
    std::string lead_;
    bool was_text_ = false;
};

std::unique_ptr<ToolGrammar> make_json_grammar(bool tagged,
                                               const std::vector<gen::ToolDefinition>& tools);
std::unique_ptr<ToolGrammar> make_xml_grammar(bool minimax,
                                              const std::vector<gen::ToolDefinition>& tools);
std::unique_ptr<ToolGrammar> make_gemma_grammar();

/// Appends bytes of a JSON string's inside, escaped. Bytes are whole or parts of code points alike.
void append_json_escaped(std::string& out, std::string_view bytes);

} // namespace bloom::text
