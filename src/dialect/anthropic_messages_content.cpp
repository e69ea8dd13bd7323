#include <algorithm>
#include <optional>
#include <unordered_set>

#include <fmt/format.h>

#include "dialect/anthropic_messages_parse.hpp"
#include "dialect/tool_fields.hpp"

namespace bloom::dialect::anthropic {
namespace {

constexpr std::size_t kMaxMessages = 100'000; // Anthropic's own bound
constexpr std::size_t kMaxNameBytes = 128;
constexpr std::size_t kShownBytes = 64; // of what a client wrote, in error messages

enum class Speaker : std::uint8_t { user, assistant, system };

std::optional<Speaker> speaker_of(std::string_view role) {
    if (role == "user") return Speaker::user;
    if (role == "assistant") return Speaker::assistant;
    if (role == "system") return Speaker::system;
    return std::nullopt;
}

/// One element of `messages` before it is put among the others.
struct Turn {
    Speaker speaker = Speaker::user;
    std::vector<gen::Part> text;
    std::string reasoning;
    std::vector<gen::ToolCall> calls;
    std::vector<gen::Message> results;
    bool is_empty_array = false;
};

gen::Part part(std::string text) {
    return {gen::Part::Kind::text, std::move(text)};
}

/// A member that has to be a string. The path is put together only to complain.
Parsed<std::string> required_text(const json::Object& block, std::string_view key,
                                  const std::string& where) {
    const auto value = block.find(key);
    if (!value) return missing(fmt::format("{}.{}", where, key));
    const auto text = value->as_string();
    if (!text) return not_a(fmt::format("{}.{}", where, key), "string");
    return std::string(*text);
}

struct Block {
    json::Object members;
    std::string_view type;
};

Parsed<Block> open_block(const json::Value& value, const std::string& where) {
    const auto members = value.as_object();
    if (!members) return not_a(where, "dictionary");
    const auto type = members->find("type");
    if (!type) return missing(where + ".type");
    if (!type->is_string()) return not_a(where + ".type", "string");
    return Block{*members, *type->as_string()};
}

std::unexpected<RequestError> unknown_block(const std::string& where, std::string_view type) {
    return bad(where + ".type",
               fmt::format("Blocks of type '{}' are not supported by this node.",
                           type.substr(0, kShownBytes)),
               "unsupported_parameter");
}

/// What stands inside a tool's result: text. Tools that a search has found are named; they are all
/// among the request's own.
Parsed<std::string> read_result_content(const json::Value& value, const std::string& where,
                                        std::string_view model) {
    if (value.is_null()) return std::string();
    if (value.is_string()) return std::string(*value.as_string());
    const auto array = value.as_array();
    if (!array)
        return bad(where, "Input should be a valid string or list of blocks", "invalid_type");
    std::string out;
    std::size_t index = 0;
    for (const json::Value element : *array) {
        const std::string path = at(where, index++);
        BLOOM_PARSE(const Block block, open_block(element, path));
        if (block.type == "text") {
            BLOOM_PARSE(const std::string text, required_text(block.members, "text", path));
            out += text;
        } else if (block.type == "tool_reference") {
            BLOOM_PARSE(const std::string name, required_text(block.members, "tool_name", path));
            out += fmt::format("The tool {} is available.\n", name);
        } else if (block.type == "image" || block.type == "document") {
            return refuse_part(path, block.type, model);
        } else {
            return unknown_block(path, block.type);
        }
    }
    return out;
}

/// Reads `messages` from the first to the last.
class Reader {
public:
    explicit Reader(std::string_view model) : model_(model) {}

    Parsed<Conversation> read(const json::Value& value) {
        const auto array = value.as_array();
        if (!array) return not_a("messages", "list");
        if (array->size() > kMaxMessages) {
            return bad("messages", fmt::format("List should have at most {} items after validation",
                                               kMaxMessages));
        }
        const std::size_t last_user = last_user_index(*array);
        std::size_t index = 0;
        for (const json::Value element : *array) {
            const std::string where = at("messages", index);
            BLOOM_PARSE(Turn turn, read_turn(element, where, index < last_user));
            BLOOM_PARSE_VOID(take(std::move(turn), where, index + 1 == array->size()));
            ++index;
        }
        if (out_.messages.empty()) return bad("messages", "at least one message is required");
        return std::move(out_);
    }

private:
    /// Index of the last message of role `user`, 0 if there is none.
    static std::size_t last_user_index(const json::Array& array) {
        std::size_t last = 0;
        std::size_t index = 0;
        for (const json::Value element : array) {
            const auto members = element.as_object();
            const auto role = members ? members->find("role") : std::nullopt;
            if (role && role->is_string() && *role->as_string() == "user") last = index;
            ++index;
        }
        return last;
    }

    Parsed<Turn> read_turn(const json::Value& value, const std::string& where, bool user_follows) {
        const auto members = value.as_object();
        if (!members) return not_a(where, "dictionary");
        Turn turn;
        bool has_role = false;
        bool is_over = false; // a system message that was for one user turn only
        std::optional<json::Value> content;
        for (const json::Member m : *members) {
            if (m.key == "role") {
                if (!m.value.is_string()) return not_a(where + ".role", "string");
                const auto speaker = speaker_of(*m.value.as_string());
                if (!speaker)
                    return bad(where + ".role", "Input should be 'user', 'assistant' or 'system'");
                turn.speaker = *speaker;
                has_role = true;
            } else if (m.key == "content") {
                content = m.value;
            } else if (m.key == "clear_at" && m.value.is_string()) {
                is_over = user_follows && *m.value.as_string() == "next_user_message";
            }
        }
        if (!has_role) return missing(where + ".role");
        // A system message may be there for its settings alone.
        if (turn.speaker == Speaker::system && (!content || content->is_null())) return turn;
        if (!content) return missing(where + ".content");
        BLOOM_PARSE_VOID(read_content(*content, where, turn));
        if (is_over && turn.speaker == Speaker::system) turn.text.clear();
        return turn;
    }

    Parsed<void> read_content(const json::Value& value, const std::string& where, Turn& turn) {
        const std::string content = where + ".content";
        if (value.is_string()) {
            turn.text.push_back(part(std::string(*value.as_string())));
            return {};
        }
        const auto array = value.as_array();
        if (!array)
            return bad(content, "Input should be a valid string or list of blocks", "invalid_type");
        turn.is_empty_array = array->empty();
        std::size_t index = 0;
        for (const json::Value element : *array) {
            const std::string path = at(content, index++);
            BLOOM_PARSE(const Block block, open_block(element, path));
            BLOOM_PARSE_VOID(read_block(block, path, turn));
        }
        return {};
    }

    Parsed<void> read_block(const Block& block, const std::string& where, Turn& turn) {
        if (block.type == "text") {
            BLOOM_PARSE(std::string text, required_text(block.members, "text", where));
            turn.text.push_back(part(std::move(text)));
            return {};
        }
        if (block.type == "image" || block.type == "document")
            return refuse_part(where, block.type, model_);
        switch (turn.speaker) {
        case Speaker::user:
            if (block.type == "tool_result") return read_result(block.members, where, turn);
            if (block.type == "tool_use")
                return bad(where, "`tool_use` blocks can only be in `assistant` messages");
            break;
        case Speaker::assistant:
            if (block.type == "tool_use") return read_call(block.members, where, turn);
            if (block.type == "thinking") return read_thinking(block.members, where, turn);
            if (block.type == "redacted_thinking") return {}; // of another machine: unreadable
            if (block.type == "tool_result")
                return bad(where, "`tool_result` blocks can only be in `user` messages");
            break;
        case Speaker::system:
            if (block.type == "tool_addition") return read_addition(block.members, where);
            // Calls of a tool that is gone are the client's to answer, as they are everywhere.
            if (block.type == "tool_removal") return {};
            break;
        }
        return unknown_block(where, block.type);
    }

    Parsed<void> read_thinking(const json::Object& members, const std::string& where, Turn& turn) {
        // Whoever signed it: it is text for the template, which mostly drops it.
        BLOOM_PARSE(const std::string text, required_text(members, "thinking", where));
        if (!turn.reasoning.empty() && !text.empty()) turn.reasoning += '\n';
        turn.reasoning += text;
        return {};
    }

    Parsed<void> read_call(const json::Object& members, const std::string& where, Turn& turn) {
        gen::ToolCall call;
        BLOOM_PARSE(call.id, required_text(members, "id", where));
        BLOOM_PARSE(call.name, required_text(members, "name", where));
        const auto input = members.find("input");
        if (!input) return missing(where + ".input");
        if (!input->is_object()) return not_a(where + ".input", "dictionary");
        call.arguments = json_text(*input);
        called_.insert(call.id);
        turn.calls.push_back(std::move(call));
        return {};
    }

    Parsed<void> read_result(const json::Object& members, const std::string& where, Turn& turn) {
        gen::Message result;
        result.role = gen::Role::tool;
        BLOOM_PARSE(result.tool_call_id, required_text(members, "tool_use_id", where));
        if (!called_.contains(result.tool_call_id)) {
            return bad(where,
                       fmt::format("unexpected `tool_use_id` found in `tool_result` blocks: {}. "
                                   "Each `tool_result` block must have a corresponding `tool_use` "
                                   "block in a previous message.",
                                   result.tool_call_id.substr(0, kShownBytes)));
        }
        std::string text;
        if (const auto content = members.find("content")) {
            BLOOM_PARSE(text, read_result_content(*content, where + ".content", model_));
        }
        if (const auto error = members.find("is_error"); error && !error->is_null()) {
            const auto is_error = error->as_bool();
            if (!is_error) return not_a(where + ".is_error", "boolean");
            // Templates have no place for the flag; most clients say it in the text as well.
            if (*is_error && !text.starts_with("Error") && !text.starts_with("<tool_use_error>"))
                text.insert(0, "Error: ");
        }
        result.content.push_back(part(std::move(text)));
        turn.results.push_back(std::move(result));
        return {};
    }

    /// References need nothing: tools are offered from the start, whether `defer_loading` or not.
    Parsed<void> read_addition(const json::Object& members, const std::string& where) {
        const auto tool = members.find("tool");
        if (!tool) return missing(where + ".tool");
        const std::string path = where + ".tool";
        BLOOM_PARSE(const Block block, open_block(*tool, path));
        if (block.type == "tool_reference") return {};
        if (block.type != "tool_definition") return unknown_block(path, block.type);
        const auto definition = block.members.find("definition");
        if (!definition) return missing(path + ".definition");
        BLOOM_PARSE(gen::ToolDefinition added, read_tool(*definition, path + ".definition"));
        out_.added_tools.push_back(std::move(added));
        return {};
    }

    Parsed<void> take(Turn turn, const std::string& where, bool is_last) {
        switch (turn.speaker) {
        case Speaker::user:
            return take_user(std::move(turn), where);
        case Speaker::assistant:
            // An empty beginning is none.
            if (is_last && turn.calls.empty() && has_no_text(turn)) return {};
            take_assistant(std::move(turn));
            return {};
        case Speaker::system:
            take_system(turn);
            return {};
        }
        return {};
    }

    static bool has_no_text(const Turn& turn) {
        return std::ranges::all_of(turn.text, [](const gen::Part& p) { return p.text.empty(); });
    }

    Parsed<void> take_user(Turn turn, const std::string& where) {
        if (turn.is_empty_array) {
            return bad(where, "all messages must have non-empty content except for the optional "
                              "final assistant message");
        }
        // Results answer the calls right before them, whatever was said around them.
        for (gen::Message& result : turn.results)
            out_.messages.push_back(std::move(result));
        if (!turn.text.empty()) append(gen::Role::user, std::move(turn.text));
        return {};
    }

    void take_assistant(Turn turn) {
        assistant_spoke_ = true;
        gen::Message& message = append(gen::Role::assistant, std::move(turn.text));
        if (!message.reasoning.empty() && !turn.reasoning.empty()) message.reasoning += '\n';
        message.reasoning += turn.reasoning;
        for (gen::ToolCall& call : turn.calls)
            message.tool_calls.push_back(std::move(call));
    }

    void take_system(const Turn& turn) {
        std::string text;
        for (const gen::Part& p : turn.text) {
            if (!text.empty() && !p.text.empty()) text += '\n';
            text += p.text;
        }
        if (text.empty()) return;
        if (assistant_spoke_) {
            std::vector<gen::Part> parts;
            parts.push_back(part("<system>\n" + text + "\n</system>"));
            append(gen::Role::user, std::move(parts));
        } else {
            out_.system.push_back(std::move(text));
        }
    }

    /// To the last message, if it is of that role: templates want turns to alternate.
    gen::Message& append(gen::Role role, std::vector<gen::Part> parts) {
        std::vector<gen::Message>& messages = out_.messages;
        if (messages.empty() || messages.back().role != role) {
            gen::Message& message = messages.emplace_back();
            message.role = role;
            message.content = std::move(parts);
            return message;
        }
        gen::Message& message = messages.back();
        if (!message.content.empty() && !parts.empty()) message.content.push_back(part("\n"));
        for (gen::Part& p : parts)
            message.content.push_back(std::move(p));
        return message;
    }

    std::string_view model_;
    Conversation out_;
    std::unordered_set<std::string> called_; ///< ids of calls so far
    bool assistant_spoke_ = false;
};

bool is_tool_name(std::string_view name) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, fits);
}

} // namespace

std::string at(std::string_view base, std::size_t index, std::string_view member) {
    return member.empty() ? fmt::format("{}.{}", base, index)
                          : fmt::format("{}.{}.{}", base, index, member);
}

std::unexpected<RequestError> bad(std::string_view where, std::string_view what,
                                  std::string_view code) {
    return refuse(where, fmt::format("{}: {}", where, what), code);
}

std::unexpected<RequestError> missing(std::string_view where) {
    return bad(where, "Field required", "missing_required_parameter");
}

std::unexpected<RequestError> not_a(std::string_view where, std::string_view expected) {
    return bad(where, fmt::format("Input should be a valid {}", expected), "invalid_type");
}

Parsed<Conversation> read_conversation(const json::Value& value, std::string_view model) {
    return Reader(model).read(value);
}

Parsed<std::string> read_system(const json::Value& value, std::string_view where) {
    if (value.is_string()) return std::string(*value.as_string());
    const auto array = value.as_array();
    if (!array)
        return bad(where, "Input should be a valid string or list of text blocks", "invalid_type");
    std::string out;
    std::size_t index = 0;
    for (const json::Value element : *array) {
        const std::string path = at(where, index);
        BLOOM_PARSE(const Block block, open_block(element, path));
        if (block.type != "text") return bad(path + ".type", "Input should be 'text'");
        BLOOM_PARSE(const std::string text, required_text(block.members, "text", path));
        if (index++ > 0) out += '\n';
        out += text;
    }
    return out;
}

Parsed<gen::ToolDefinition> read_tool(const json::Value& value, const std::string& where) {
    const auto members = value.as_object();
    if (!members) return not_a(where, "dictionary");
    gen::ToolDefinition tool;
    for (const json::Member m : *members) {
        if (m.value.is_null()) continue;
        if (m.key == "type") {
            if (!m.value.is_string()) return not_a(where + ".type", "string");
            const std::string_view type = *m.value.as_string();
            if (type == "custom") continue;
            return bad(where + ".type",
                       fmt::format("Tools of type '{}' are not supported by this node; give a "
                                   "name, a description and an input_schema.",
                                   type.substr(0, kShownBytes)),
                       "unsupported_parameter");
        }
        if (m.key == "name") {
            if (!m.value.is_string()) return not_a(where + ".name", "string");
            tool.name = std::string(*m.value.as_string());
            if (!is_tool_name(tool.name)) {
                return bad(where + ".name",
                           fmt::format("String should match pattern '^[a-zA-Z0-9_-]{{1,{}}}$'",
                                       kMaxNameBytes));
            }
        } else if (m.key == "description") {
            if (!m.value.is_string()) return not_a(where + ".description", "string");
            tool.description = std::string(*m.value.as_string());
        } else if (m.key == "strict") {
            const auto strict = m.value.as_bool();
            if (!strict) return not_a(where + ".strict", "boolean");
            tool.strict = *strict;
        } else if (m.key == "input_schema") {
            if (!m.value.is_object()) return not_a(where + ".input_schema", "dictionary");
            const bool is_empty = m.value.as_object()->empty();
            tool.parameters = is_empty ? std::string(kNoParameters) : json_text(m.value);
        }
    }
    if (tool.name.empty()) return missing(where + ".name");
    if (tool.parameters.empty()) return missing(where + ".input_schema");
    return tool;
}

} // namespace bloom::dialect::anthropic
