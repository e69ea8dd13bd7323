#include <algorithm>

#include <fmt/format.h>

#include <bloom/base/check.hpp>
#include <bloom/text/grammar/constraint.hpp>
#include <bloom/text/grammar/json_schema.hpp>

#include "text/grammar/constraint_calls.hpp"

namespace bloom::text {
namespace {

bool forces_calls(const gen::TemplateOptions& tmpl) noexcept {
    return tmpl.tool_choice == gen::ToolChoice::required ||
           tmpl.tool_choice == gen::ToolChoice::named;
}

/// Whether the calls of a function have to fit its schema.
bool enforces(const gen::TemplateOptions& tmpl, const gen::ToolDefinition& tool) noexcept {
    switch (tmpl.tool_choice) {
    case gen::ToolChoice::automatic:
        return tool.strict;
    case gen::ToolChoice::required:
        return true;
    case gen::ToolChoice::named:
        return tool.name == tmpl.tool_name;
    case gen::ToolChoice::none:
        break;
    }
    return false;
}

/// The functions that may be called.
std::vector<Callable> functions_of(const gen::TemplateOptions& tmpl) {
    std::vector<Callable> out;
    if (tmpl.tool_choice == gen::ToolChoice::none) return out;
    for (const gen::ToolDefinition& tool : tmpl.tools) {
        if (tmpl.tool_choice == gen::ToolChoice::named && tool.name != tmpl.tool_name) continue;
        out.push_back({&tool, enforces(tmpl, tool)});
    }
    return out;
}

/// The grammar of one answer, put together from its parts.
class AnswerGrammar {
public:
    explicit AnswerGrammar(const ConstraintRequest& request)
        : tmpl_(*request.tmpl), format_(*request.format), calls_(request.calls),
          in_reasoning_(request.in_reasoning), may_think_(request.may_think),
          marks_(marks_of(request.calls)), functions_(functions_of(tmpl_)) {}

    Result<std::shared_ptr<const Grammar>> build() {
        BLOOM_TRY(const GrammarNode answer, add_answer());
        const GrammarNode parts[] = {add_thinking(), answer};
        return g_.build(g_.sequence(parts));
    }

private:
    bool has_format() const noexcept { return format_.kind != gen::OutputFormat::Kind::text; }

    Result<GrammarNode> add_answer() {
        if (forces_calls(tmpl_)) {
            if (functions_.empty()) {
                return Error{Code::invalid_argument,
                             "a tool call is demanded, but there is no such tool"};
            }
            return add_calls(g_, calls_, functions_, tmpl_.parallel_tool_calls);
        }
        const bool calls = !functions_.empty() && calls_ != OutputFormat::plain;
        if (!calls) return has_format() ? add_format() : Result<GrammarNode>(add_text());
        BLOOM_TRY(const GrammarNode called,
                  add_calls(g_, calls_, functions_, tmpl_.parallel_tool_calls));
        if (has_format()) {
            BLOOM_TRY(const GrammarNode formatted, add_format());
            const GrammarNode either[] = {called, formatted};
            return g_.choice(either);
        }
        if (calls_ == OutputFormat::llama_json) {
            const GrammarNode either[] = {called, add_words()};
            return g_.choice(either);
        }
        const GrammarNode parts[] = {add_text(), g_.optional(called)};
        return g_.sequence(parts);
    }

    Result<GrammarNode> add_format() {
        if (format_.kind == gen::OutputFormat::Kind::json_object)
            return add_json_object(g_, ValueSyntax::json);
        return add_json_schema(g_, format_.schema, {ValueSyntax::json, format_.strict});
    }

    /// Any answer that begins neither thinking nor a call.
    GrammarNode add_text() {
        std::vector<std::string_view> ends;
        for (const std::string_view mark :
             {marks_.think_open, marks_.think_close, marks_.tool_open, marks_.also_open}) {
            if (!mark.empty()) ends.push_back(mark);
        }
        return g_.text_without(ends);
    }

    /// Text that cannot be taken for a bare call: it does not begin with its brace.
    GrammarNode add_words() {
        static constexpr CodePointRange kFirst[] = {
            {U'!', U';'}, {U'=', U'z'}, {U'|', U'~'}, {0x80, 0x10ffff}};
        const GrammarNode words[] = {g_.characters(kFirst), add_text()};
        return g_.optional(g_.sequence(words));
    }

    /// What comes before the answer. Models write up to two line feeds behind it, which nobody
    /// sees.
    GrammarNode add_thinking() {
        if (!in_reasoning_ && !may_think_) return g_.empty();
        const bool gemma = calls_ == OutputFormat::gemma;
        std::vector<std::string_view> ends{marks_.think_close};
        // For some parsers these end the thinking, too.
        for (const std::string_view mark : {marks_.tool_open, marks_.also_open}) {
            if (!mark.empty()) ends.push_back(mark);
        }
        const GrammarNode rest[] = {g_.text_without(ends), g_.tag(marks_.think_close),
                                    gemma ? g_.empty() : g_.repeat(g_.literal("\n"), 0, 2)};
        const GrammarNode thinking = g_.sequence(rest);
        if (in_reasoning_) return thinking;
        const GrammarNode whole[] = {g_.tag(marks_.think_open),
                                     gemma ? g_.literal("thought\n") : g_.empty(), thinking};
        return g_.optional(g_.sequence(whole));
    }

    const gen::TemplateOptions& tmpl_;
    const gen::OutputFormat& format_;
    OutputFormat calls_;
    bool in_reasoning_;
    bool may_think_;
    CallMarks marks_;
    std::vector<Callable> functions_;
    GrammarBuilder g_;
};

} // namespace

std::vector<std::string_view> constraint_tags(OutputFormat format) {
    const CallMarks marks = marks_of(format);
    std::vector<std::string_view> out{marks.think_open, marks.think_close};
    if (!marks.tool_open.empty()) out.insert(out.end(), {marks.tool_open, marks.tool_close});
    if (format == OutputFormat::llama_json) out.push_back(marks.also_open);
    if (format == OutputFormat::gemma) out.insert(out.end(), {"<|\"|>", "<|tool_response>"});
    return out;
}

std::string_view thinking_end(OutputFormat format) {
    return marks_of(format).think_close;
}

bool wants_constraint(const ConstraintRequest& request) noexcept {
    const gen::TemplateOptions& tmpl = *request.tmpl;
    if (request.format->kind != gen::OutputFormat::Kind::text || forces_calls(tmpl)) return true;
    if (request.calls == OutputFormat::plain || tmpl.tools.empty()) return false;
    if (tmpl.tool_choice == gen::ToolChoice::none) return true;
    // Nobody can do anything with half a call, or one of a function that is not there. Only where
    // calls have no mark of their own would that forbid answers that begin with a brace.
    return request.calls != OutputFormat::llama_json ||
           std::ranges::any_of(
               tmpl.tools, [&](const gen::ToolDefinition& tool) { return enforces(tmpl, tool); });
}

Result<std::shared_ptr<const Grammar>> make_constraint(const ConstraintRequest& request) {
    BLOOM_CHECK(request.tmpl != nullptr);
    BLOOM_CHECK(request.format != nullptr);
    if (!wants_constraint(request)) return std::shared_ptr<const Grammar>();
    return AnswerGrammar(request).build();
}

std::optional<ConstraintError> check_constraints(const gen::TemplateOptions& tmpl,
                                                 const gen::OutputFormat& format) {
    for (std::size_t i = 0; i < tmpl.tools.size(); ++i) {
        const gen::ToolDefinition& tool = tmpl.tools[i];
        if (!enforces(tmpl, tool)) continue;
        const Result<> checked = check_json_schema(arguments_schema(tool), tool.strict);
        if (!checked) return ConstraintError{fmt::format("tools[{}]", i), checked.error()};
    }
    if (format.kind != gen::OutputFormat::Kind::json_schema) return std::nullopt;
    const Result<> checked = check_json_schema(format.schema, format.strict);
    if (checked) return std::nullopt;
    return ConstraintError{"response_format", checked.error()};
}

} // namespace bloom::text
