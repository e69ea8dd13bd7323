#include <array>

#include "text/output/grammar.hpp"

/// Calls as tags: Qwen's <function=..> <parameter=..> and MiniMax's <invoke name=".."> <parameter
/// name="..">. Values are untyped text; the schema says what they mean.
namespace bloom::text {
namespace {

constexpr std::size_t kMaxTagBytes = 1024;
constexpr std::size_t kMaxGapBytes =
    64; ///< white space looked through behind a doubtful closing tag
constexpr std::string_view kParameterClose = "</parameter>";

bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct Dialect {
    std::string_view block_open;
    std::string_view block_close;
    std::string_view function_open; ///< up to the name
    std::string_view function_close;
    std::string_view parameter_open; ///< up to the name
    bool framed; ///< one line feed after the opening and before the closing tag of a value
};

constexpr Dialect kQwen{
    "<tool_call>", "</tool_call>", "<function=", "</function>", "<parameter=", true};
constexpr Dialect kMiniMax{"<minimax:tool_call>", "</minimax:tool_call>", "<invoke name=",
                           "</invoke>",           "<parameter name=",     false};

/// The name between `open` and the final '>', without quotes.
std::string_view name_in(std::string_view tag, std::string_view open) noexcept {
    std::string_view name = tag.substr(open.size(), tag.size() - open.size() - 1);
    while (!name.empty() && is_space(name.back()))
        name.remove_suffix(1);
    while (!name.empty() && is_space(name.front()))
        name.remove_prefix(1);
    const bool quoted = name.size() >= 2 && (name.front() == '"' || name.front() == '\'') &&
                        name.back() == name.front();
    return quoted ? name.substr(1, name.size() - 2) : name;
}

class XmlGrammar final : public ToolGrammar {
public:
    XmlGrammar(const Dialect& dialect, const std::vector<gen::ToolDefinition>& tools)
        : dialect_(dialect), types_(tools) {}

protected:
    void start(std::string_view opening) override {
        opening_ = opening;
        raw_.clear();
        any_call_ = false;
        done_ = false;
        in_function_ = false;
        state_ = State::gap;
        if (opening != dialect_.function_open) return;
        // The block's own tag was left out.
        opening_.clear();
        tag_ = opening;
        raw_ = opening;
        state_ = State::tag;
    }

public:
    bool done() const noexcept override { return done_; }

    bool feed(char c) override {
        const bool taken = step(c);
        if (taken && !any_call_) raw_ += c;
        return taken;
    }

    void finish(bool complete) override {
        if (!any_call_) {
            restore();
        } else if (complete && in_function_ && state_ != State::value &&
                   state_ != State::value_start) {
            end_call();
        }
    }

private:
    enum class State : std::uint8_t { gap, tag, value_start, value };
    enum class Verdict : std::uint8_t { more, data, close };

    bool step(char c) {
        switch (state_) {
        case State::gap:
            if (c == '<') {
                tag_ = "<";
                state_ = State::tag;
                return true;
            }
            if (is_space(c) || in_function_) return true;
            if (!any_call_) restore();
            return false;
        case State::tag:
            return tag(c);
        case State::value_start:
            return value_start(c);
        case State::value:
            held_ += c;
            settle();
            return true;
        }
        return false;
    }

    bool tag(char c) {
        tag_ += c;
        if (c == '>') {
            state_ = State::gap;
            return interpret();
        }
        if (in_function_ ? tag_.size() <= kMaxTagBytes : may_be_tag()) return true;
        if (in_function_) {
            state_ = State::gap; // noise between parameters
            return true;
        }
        return give_back(1);
    }

    bool may_be_tag() const noexcept {
        if (tag_.size() > kMaxTagBytes) return false;
        for (const std::string_view known :
             {dialect_.function_open, dialect_.block_close, dialect_.block_open}) {
            if (known.starts_with(tag_)) return true;
        }
        return tag_.starts_with(dialect_.function_open);
    }

    /// What looked like a tag is text; its last `n_untaken` bytes have not been counted yet.
    bool give_back(std::size_t n_untaken) {
        state_ = State::gap;
        if (!any_call_) {
            restore();
        } else {
            sink_.text(std::string_view(tag_).substr(0, tag_.size() - n_untaken));
        }
        return false;
    }

    bool interpret() {
        if (!in_function_) {
            if (tag_.starts_with(dialect_.function_open)) {
                function_ = name_in(tag_, dialect_.function_open);
                if (function_.empty()) return give_back(1);
                any_call_ = true;
                raw_.clear();
                in_function_ = true;
                n_parameters_ = 0;
                sink_.begin(function_);
                return true;
            }
            if (tag_ == dialect_.block_open) return true;
            if (tag_ != dialect_.block_close) return give_back(1);
            done_ = true;
            if (!any_call_) {
                raw_ += '>';
                restore();
            }
            return true;
        }
        if (tag_.starts_with(dialect_.parameter_open)) {
            begin_parameter(name_in(tag_, dialect_.parameter_open));
        } else if (tag_ == dialect_.function_close) {
            end_call();
        } else if (tag_ == dialect_.block_close) {
            end_call();
            done_ = true;
        }
        return true;
    }

    void begin_parameter(std::string_view name) {
        std::string text = n_parameters_++ == 0 ? "{" : ", ";
        text += '"';
        append_json_escaped(text, name);
        text += "\": ";
        value_types_ = types_.of(function_, name);
        streams_ = value_types_ == kTypeString;
        if (streams_) text += '"';
        sink_.args(text);
        value_.clear();
        held_.clear();
        virtual_lf_ = false;
        framed_ = false;
        state_ = State::value_start;
    }

    bool value_start(char c) {
        state_ = State::value;
        held_ += c;
        if (dialect_.framed && c == '\n') {
            // This line feed is structure, but may double as the one before the closing tag.
            framed_ = true;
            virtual_lf_ = true;
        }
        settle();
        return true;
    }

    /// Whether the held bytes close the value.
    Verdict classify(std::size_t& close_end) const {
        const std::string_view held = held_;
        const bool lf = held.front() == '\n';
        if (held.front() != '<' && !(lf && framed_)) return Verdict::data;
        const std::string_view rest = held.substr(lf ? 1 : 0);
        if (rest.size() < kParameterClose.size()) {
            return kParameterClose.starts_with(rest) ? Verdict::more : Verdict::data;
        }
        if (!rest.starts_with(kParameterClose)) return Verdict::data;
        close_end = (lf ? 1 : 0) + kParameterClose.size();
        if (lf || !framed_) return Verdict::close;
        // The line feed is missing: it still closes if the markup goes on behind it.
        std::string_view next = rest.substr(kParameterClose.size());
        std::size_t gap = 0;
        while (gap < next.size() && is_space(next[gap]))
            ++gap;
        if (gap > kMaxGapBytes) return Verdict::data;
        next.remove_prefix(gap);
        for (const std::string_view tag :
             {dialect_.parameter_open, dialect_.function_close, dialect_.block_close}) {
            if (next.starts_with(tag)) return Verdict::close;
            if (tag.starts_with(next)) return Verdict::more;
        }
        return Verdict::data;
    }

    /// Moves what is certain from the held bytes into the value.
    void settle() {
        while (!held_.empty() && state_ == State::value) {
            std::size_t close_end = 0;
            const Verdict verdict = classify(close_end);
            if (verdict == Verdict::more) return;
            if (verdict == Verdict::close) {
                const std::string rest = held_.substr(close_end);
                end_value();
                for (const char c : rest)
                    step(c);
                return;
            }
            std::size_t n = held_.find_first_of("\n<", 1);
            if (n == std::string::npos) n = held_.size();
            const std::size_t skip = virtual_lf_ ? 1 : 0;
            virtual_lf_ = false;
            keep(std::string_view(held_).substr(skip, n - skip));
            held_.erase(0, n);
        }
    }

    void keep(std::string_view bytes) {
        if (!streams_) {
            value_ += bytes;
            return;
        }
        escaped_.clear();
        append_json_escaped(escaped_, bytes);
        sink_.args(escaped_);
    }

    void end_value() {
        sink_.args(streams_ ? std::string("\"") : coerce_parameter(value_, value_types_));
        held_.clear();
        state_ = State::gap;
    }

    void end_call() {
        sink_.args(n_parameters_ == 0 ? "{}" : "}");
        sink_.end();
        in_function_ = false;
    }

    void restore() {
        give_text(opening_ + raw_);
        raw_.clear();
    }

    const Dialect& dialect_;
    const ParameterTypes types_;
    State state_ = State::gap;
    std::string opening_;
    std::string raw_; ///< the block so far, until its first call has begun
    std::string tag_;
    std::string function_;
    std::string value_;
    std::string held_; ///< bytes of a value that may be its end
    std::string escaped_;
    TypeSet value_types_ = kTypeString;
    std::size_t n_parameters_ = 0;
    bool streams_ = false;
    bool framed_ = false;     ///< this value began with a line feed
    bool virtual_lf_ = false; ///< the first held byte is that line feed
    bool in_function_ = false;
    bool any_call_ = false;
    bool done_ = false;
};

} // namespace

std::unique_ptr<ToolGrammar> make_xml_grammar(bool minimax,
                                              const std::vector<gen::ToolDefinition>& tools) {
    return std::make_unique<XmlGrammar>(minimax ? kMiniMax : kQwen, tools);
}

} // namespace bloom::text
