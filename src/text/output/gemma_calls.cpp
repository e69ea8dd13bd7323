#include <utility>

#include <bloom/text/jinja_value.hpp>

#include "text/output/grammar.hpp"

/// Gemma 4: call:name{key:value,..}, strings between <|"|> marks, keys bare. Turned into JSON byte
/// by byte.
namespace bloom::text {
namespace {

constexpr std::string_view kQuote = "<|\"|>";
constexpr std::string_view kClose = "<tool_call|>";
constexpr std::string_view kCall = "call:";
constexpr std::size_t kMaxDepth = 128;

bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::string_view trimmed(std::string_view text) noexcept {
    while (!text.empty() && is_space(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && is_space(text.back()))
        text.remove_suffix(1);
    return text;
}

/// A bare word as JSON: literals in either spelling, numbers, else a string.
std::string scalar_json(std::string_view text) {
    if (text == "True") return "true";
    if (text == "False") return "false";
    if (text == "None") return "null";
    const auto value = jinja::Value::from_json(text, jinja::Origin::user);
    if (value && !value->is(jinja::Kind::string)) return std::string(text);
    std::string out = "\"";
    append_json_escaped(out, text);
    return out + '"';
}

class GemmaGrammar final : public ToolGrammar {
public:
protected:
    void start(std::string_view opening) override {
        opening_ = opening;
        head_.clear();
        held_.clear();
        stack_.clear();
        done_ = false;
        begun_ = false;
        state_ = State::head;
    }

public:
    bool done() const noexcept override { return done_; }

    bool only_close_missing() const noexcept override {
        return state_ == State::closing && held_.empty();
    }

    bool feed(char c) override {
        switch (state_) {
        case State::head:
            return head(c);
        case State::string:
        case State::quoted_key:
            quoted(c);
            return true;
        case State::closing:
            return closing(c);
        default:
            return structure(c);
        }
    }

    void finish(bool) override {
        // A call whose braces are closed has already ended; anything else stays open.
        if (!begun_) restore();
    }

private:
    enum class State : std::uint8_t {
        head,
        key,
        quoted_key,
        colon,
        value,
        scalar,
        string,
        after_value,
        closing,
        broken
    };

    bool head(char c) {
        if (c == '{') {
            const std::string_view text = trimmed(head_);
            const std::string_view name =
                text.starts_with(kCall) ? trimmed(text.substr(kCall.size())) : std::string_view();
            if (!name.empty()) {
                begun_ = true;
                sink_.begin(name);
                open(c);
                return true;
            }
        } else if (const std::string longer = head_ + c; may_be_head(longer)) {
            head_ = longer;
            return true;
        }
        restore();
        state_ = State::broken;
        begun_ = true; // restored once
        return false;
    }

    static bool may_be_head(std::string_view text) noexcept {
        while (!text.empty() && is_space(text.front()))
            text.remove_prefix(1);
        if (text.size() <= kCall.size()) return kCall.starts_with(text);
        if (!text.starts_with(kCall)) return false;
        // A name: nothing that could be markup.
        return text.find('<') == std::string_view::npos;
    }

    void open(char c) {
        stack_ += c;
        sink_.args({&c, 1});
        first_ = true;
        state_ = c == '{' ? State::key : State::value;
        word_.clear();
    }

    bool close(char c) {
        if (stack_.empty() || stack_.back() != (c == '}' ? '{' : '[')) return give_up();
        stack_.pop_back();
        sink_.args({&c, 1});
        first_ = false;
        if (stack_.empty()) {
            sink_.end();
            held_.clear();
            state_ = State::closing;
        } else {
            state_ = State::after_value;
        }
        return true;
    }

    /// Everything outside of strings.
    bool structure(char c) {
        if (state_ == State::broken) return broken(c);
        if (!held_.empty() || (c == '<' && state_ != State::scalar)) return mark(c);
        switch (state_) {
        case State::key:
            if (c == ':') {
                begin_member(trimmed(word_));
                state_ = State::value;
            } else if (c == '}' && trimmed(word_).empty()) {
                return close(c);
            } else {
                word_ += c;
            }
            return true;
        case State::colon:
            if (c == ':') state_ = State::value;
            return c == ':' || is_space(c) || give_up();
        case State::value:
            if (is_space(c)) return true;
            if (c == ']' && !stack_.empty() && stack_.back() == '[' && first_) return close(c);
            if (c == ',' || c == '}' || c == ']') return give_up();
            separate();
            if (c == '{' || c == '[') {
                if (stack_.size() >= kMaxDepth) return give_up();
                open(c);
            } else {
                word_ = c;
                state_ = State::scalar;
            }
            return true;
        case State::scalar:
            if (c != ',' && c != '}' && c != ']') {
                word_ += c;
                return true;
            }
            sink_.args(scalar_json(trimmed(word_)));
            first_ = false;
            state_ = State::after_value;
            return structure(c);
        case State::after_value:
            if (c == ',') {
                word_.clear();
                state_ = stack_.back() == '{' ? State::key : State::value;
                return true;
            }
            if (c == '}' || c == ']') return close(c);
            return is_space(c) || give_up();
        default:
            return give_up();
        }
    }

    /// The string mark where a key or a value is expected.
    bool mark(char c) {
        held_ += c;
        if (!kQuote.starts_with(held_)) return give_up();
        if (held_ != kQuote) return true;
        held_.clear();
        if (state_ == State::key) {
            word_.clear();
            state_ = State::quoted_key;
        } else if (state_ == State::value) {
            separate();
            sink_.args("\"");
            state_ = State::string;
        } else {
            return give_up();
        }
        return true;
    }

    /// Between elements of a list; members of an object bring their own.
    void separate() {
        if (stack_.back() == '[' && !first_) sink_.args(", ");
        first_ = false;
    }

    void begin_member(std::string_view key) {
        std::string text = first_ ? "\"" : ", \"";
        append_json_escaped(text, key);
        text += "\": ";
        sink_.args(text);
        first_ = false;
    }

    /// Inside a string: everything up to the next mark.
    void quoted(char c) {
        held_ += c;
        while (!held_.empty()) {
            if (held_ == kQuote) {
                held_.clear();
                if (state_ == State::string) {
                    sink_.args("\"");
                    state_ = State::after_value;
                } else {
                    begin_member(word_);
                    state_ = State::colon;
                }
                return;
            }
            if (kQuote.starts_with(held_)) return;
            std::size_t n = held_.find('<', 1);
            if (n == std::string::npos) n = held_.size();
            if (state_ == State::string) {
                escaped_.clear();
                append_json_escaped(escaped_, std::string_view(held_).substr(0, n));
                sink_.args(escaped_);
            } else {
                word_.append(held_, 0, n);
            }
            held_.erase(0, n);
        }
    }

    bool closing(char c) {
        if (held_.empty() && is_space(c)) return true;
        held_ += c;
        if (held_ == kClose) {
            done_ = true;
            return true;
        }
        if (kClose.starts_with(held_)) return true;
        // The closing mark was left out: all of this is something else.
        held_.pop_back();
        back_ = std::exchange(held_, {});
        return false;
    }

    /// The call cannot be read any further; skip to its end.
    bool give_up() {
        state_ = State::broken;
        held_.clear();
        return true;
    }

    bool broken(char c) {
        held_ += c;
        if (held_ == kClose) {
            done_ = true;
        } else if (!kClose.starts_with(held_)) {
            held_ = c == '<' ? "<" : "";
        }
        return true;
    }

    void restore() { give_text(opening_ + head_); }

    State state_ = State::head;
    std::string opening_;
    std::string head_;
    std::string stack_;
    std::string word_;
    std::string held_;
    std::string escaped_;
    bool first_ = true; ///< nothing in the innermost container yet
    bool begun_ = false;
    bool done_ = false;
};

} // namespace

std::unique_ptr<ToolGrammar> make_gemma_grammar() {
    return std::make_unique<GemmaGrammar>();
}

} // namespace bloom::text
