#include <array>

#include <bloom/text/jinja_value.hpp>

#include "text/output/grammar.hpp"

/// Calls as JSON objects: {"name": .., "arguments": ..}, in <tool_call> tags (Hermes) or bare
/// (Llama).
namespace bloom::text {
namespace {

bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// Follows one JSON value byte by byte.
class ValueWalker {
public:
    enum class Step : std::uint8_t { more, last, beyond, broken };

    void reset() {
        stack_.clear();
        started_ = scalar_ = string_ = escape_ = false;
    }

    /// Whether the byte belongs to the value, ends it, lies behind it, or fits nowhere.
    Step take(char c) {
        if (string_) {
            if (escape_) {
                escape_ = false;
            } else if (c == '\\') {
                escape_ = true;
            } else if (c == '"') {
                string_ = false;
                if (stack_.empty()) return Step::last;
            }
            return Step::more;
        }
        if (scalar_ && (c == ',' || c == '}' || c == ']' || is_space(c))) return Step::beyond;
        if (c == '"') {
            started_ = string_ = true;
        } else if (c == '{' || c == '[') {
            started_ = true;
            stack_ += c;
        } else if (c == '}' || c == ']') {
            if (stack_.empty() || stack_.back() != (c == '}' ? '{' : '[')) return Step::broken;
            stack_.pop_back();
            if (stack_.empty()) return Step::last;
        } else if (stack_.empty()) {
            started_ = scalar_ = true;
        }
        return Step::more;
    }

private:
    std::string stack_;
    bool started_ = false;
    bool scalar_ = false;
    bool string_ = false;
    bool escape_ = false;
};

std::string unquoted(std::string_view json) {
    const auto value = jinja::Value::from_json(json, jinja::Origin::user);
    return value && value->is(jinja::Kind::string) ? std::string(value->text()) : std::string();
}

class JsonGrammar final : public ToolGrammar {
public:
    JsonGrammar(bool tagged, const std::vector<gen::ToolDefinition>& tools)
        : tagged_(tagged), known_(tools) {}

protected:
    void start(std::string_view opening) override {
        opening_ = opening;
        raw_.clear();
        any_call_ = false;
        done_ = false;
        state_ = State::between;
    }

public:
    bool done() const noexcept override { return done_; }

    bool feed(char c) override {
        const bool taken = step(c);
        if (taken && !any_call_) raw_ += c;
        return taken;
    }

    void finish(bool complete) override {
        if (state_ == State::broken) return;
        if (!any_call_) {
            restore();
        } else if (complete && sink_.open() && state_ == State::after_value && has_args_) {
            sink_.end();
        }
    }

private:
    enum class State : std::uint8_t {
        between,
        closing,
        key,
        in_key,
        colon,
        value,
        after_value,
        broken
    };

    bool step(char c) {
        switch (state_) {
        case State::between:
            return between(c);
        case State::closing:
            return closing(c);
        case State::key:
            if (c == '"') {
                key_.clear();
                escape_ = false;
                state_ = State::in_key;
                return true;
            }
            if (c == '}') return end_call();
            return is_space(c) || c == ',' || reject();
        case State::in_key:
            if (c == '"' && !escape_) {
                state_ = State::colon;
            } else {
                escape_ = c == '\\' && !escape_;
                key_ += c;
            }
            return true;
        case State::colon:
            if (c == ':') {
                walker_.reset();
                value_.clear();
                first_ = '\0';
                state_ = State::value;
                return true;
            }
            return is_space(c) || reject();
        case State::value:
            return value(c);
        case State::after_value:
            if (c == ',') {
                state_ = State::key;
                return true;
            }
            if (c == '}') return end_call();
            return is_space(c) || reject();
        case State::broken:
            return skip(c);
        }
        return false;
    }

    bool between(char c) {
        if (is_space(c)) return true;
        if (c == '{') {
            name_.clear();
            held_args_.clear();
            has_args_ = false;
            begun_ = false;
            state_ = State::key;
            return true;
        }
        if (c == '[' || ((c == ']' || c == ',') && any_call_)) return true;
        if (tagged_ && c == '<') {
            tag_ = "<";
            state_ = State::closing;
            return true;
        }
        if (!any_call_) restore();
        return false;
    }

    /// The closing tag, or the opening tag of a next call when the closing one was left out.
    bool closing(char c) {
        static constexpr std::array<std::string_view, 2> kTags{"</tool_call>", "<tool_call>"};
        std::string longer = tag_ + c;
        for (const std::string_view tag : kTags) {
            if (!tag.starts_with(longer)) continue;
            if (tag.size() == longer.size()) {
                tag_.clear();
                state_ = State::between;
                if (tag == kTags[0]) {
                    done_ = true;
                    if (!any_call_) {
                        raw_ += c;
                        restore();
                    }
                }
            } else {
                tag_ = std::move(longer);
            }
            return true;
        }
        if (!any_call_) {
            restore();
        } else {
            sink_.text(tag_);
        }
        return false;
    }

    bool value(char c) {
        if (first_ == '\0') {
            if (is_space(c)) return true;
            first_ = c;
        }
        const auto step = walker_.take(c);
        if (step == ValueWalker::Step::broken) return reject();
        if (step != ValueWalker::Step::beyond) keep(c);
        if (step == ValueWalker::Step::more) return true;
        state_ = State::after_value;
        if (!end_value()) return false;
        return step == ValueWalker::Step::beyond ? this->step(c) : true;
    }

    bool is_args_key() const noexcept { return key_ == "arguments" || key_ == "parameters"; }

    /// Objects stream through as they come; the rest is looked at when it is whole.
    void keep(char c) {
        if (!is_args_key()) {
            if (key_ == "name") value_ += c;
        } else if (first_ != '{' && first_ != '[') {
            value_ += c;
        } else if (begun_) {
            sink_.args({&c, 1});
        } else {
            held_args_ += c;
        }
    }

    bool end_value() {
        if (key_ == "name") {
            name_ = unquoted(value_);
            if (name_.empty() || begun_) return reject();
            if (!tagged_ && !known_.knows(name_)) return reject();
            begun_ = true;
            any_call_ = true;
            raw_.clear();
            sink_.begin(name_);
            sink_.args(held_args_);
            held_args_.clear();
        } else if (is_args_key()) {
            has_args_ = true;
            std::string text;
            if (first_ == '"') text = unquoted(value_); // JSON inside a JSON string
            if (first_ != '{' && first_ != '[') {
                if (text.empty()) text = "{}";
                if (begun_) {
                    sink_.args(text);
                } else {
                    held_args_ = text;
                }
            }
        }
        return true;
    }

    bool end_call() {
        if (!begun_) return reject();
        if (!has_args_) sink_.args("{}");
        sink_.end();
        state_ = State::between;
        return true;
    }

    /// Not a call after all: what was read is text, or, once a call has begun, lost.
    bool reject() {
        if (!any_call_) {
            restore();
            return false;
        }
        state_ = State::broken;
        tag_.clear();
        return true;
    }

    bool skip(char c) {
        static constexpr std::string_view kClose = "</tool_call>";
        if (!tagged_) return true;
        tag_ += c;
        if (tag_ == kClose) {
            done_ = true;
        } else if (!kClose.starts_with(tag_)) {
            tag_ = c == '<' ? "<" : "";
        }
        return true;
    }

    void restore() {
        give_text(tagged_ ? opening_ + raw_ : raw_);
        raw_.clear();
    }

    const bool tagged_;
    const ParameterTypes known_;
    State state_ = State::between;
    ValueWalker walker_;
    std::string opening_;
    std::string raw_; ///< the block so far, until its first call has a name
    std::string tag_;
    std::string key_;
    std::string name_;
    std::string value_;
    std::string held_args_; ///< arguments that came before the name
    char first_ = '\0';     ///< of the current value
    bool escape_ = false;
    bool begun_ = false;
    bool has_args_ = false;
    bool any_call_ = false;
    bool done_ = false;
};

} // namespace

std::unique_ptr<ToolGrammar> make_json_grammar(bool tagged,
                                               const std::vector<gen::ToolDefinition>& tools) {
    return std::make_unique<JsonGrammar>(tagged, tools);
}

} // namespace bloom::text
