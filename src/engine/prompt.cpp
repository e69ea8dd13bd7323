#include "engine/prompt.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <bloom/text/detokenizer.hpp>
#include <bloom/text/vocab.hpp>

namespace bloom::engine {
namespace {

text::ChatTemplateOptions template_options(const text::Tokenizer& tokenizer) {
    text::ChatTemplateOptions options;
    const auto add = [&](const char* name, std::optional<std::int32_t> id) {
        if (id) options.special_tokens.emplace_back(name, tokenizer.bytes_of(*id));
    };
    add("bos_token", tokenizer.bos());
    add("eos_token", tokenizer.eos());
    return options;
}

/// How a family writes its calls, for templates that do not show it.
text::OutputFormat format_of(Arch arch) noexcept {
    switch (arch) {
    case Arch::qwen35:
    case Arch::qwen35_moe:
        return text::OutputFormat::qwen_xml;
    case Arch::gemma4:
        return text::OutputFormat::gemma;
    case Arch::minimax_m2:
        return text::OutputFormat::minimax_xml;
    case Arch::qwen3:
    case Arch::qwen3_moe:
    case Arch::afmoe:
        return text::OutputFormat::hermes_json;
    case Arch::llama: // of many makers
    case Arch::qwen2:
        break;
    }
    return text::OutputFormat::plain;
}

/// Whether a raw prompt begins the model's thinking itself, as templates do.
bool opens_thinking(std::string_view text, text::OutputFormat format) noexcept {
    const std::size_t last = text.find_last_not_of(" \t\r\n");
    const std::string_view open =
        format == text::OutputFormat::gemma ? "<|channel>thought" : "<think>";
    return last != std::string_view::npos && text.substr(0, last + 1).ends_with(open);
}

/// Bytes of tokens as text.
std::string as_text(std::string_view bytes) {
    text::Utf8Stream stream;
    std::string out;
    stream.push(bytes, out);
    stream.finish(out);
    return out;
}

} // namespace

Result<PromptMaker> PromptMaker::create(const ModelFile& file, std::int32_t render_ms_max) {
    PromptMaker out;
    out.render_max_ = std::chrono::milliseconds(render_ms_max);
    BLOOM_TRY(ModelTokenizer read, file.tokenizer());
    BLOOM_TRY(out.tokenizer_, text::Tokenizer::create(std::move(read.vocab)));
    const text::Tokenizer& tokenizer = *out.tokenizer_;
    // Gemma 4 does not work without; others are as their template was trained with.
    out.needs_bos_ = tokenizer.bos() && tokenizer.token_id("<|turn>");
    std::string_view source;
    std::string_view name = "built-in";
    if (!read.chat_templates.empty()) {
        source = read.chat_templates.front().source;
        name = read.chat_templates.front().name;
    } else {
        source = text::builtin_chat_template(
            [&](std::string_view text) { return tokenizer.token_id(text).has_value(); });
    }
    if (!source.empty()) {
        BLOOM_TRY(out.template_,
                  text::ChatTemplate::create(source, name, template_options(tokenizer)));
        out.format_ = out.template_->output_format();
    }
    if (out.format_ == text::OutputFormat::plain) out.format_ = format_of(file.config().arch);
    for (const std::string_view tag : text::tags_of(out.format_)) {
        const std::optional<std::int32_t> id = tokenizer.token_id(tag);
        if (id) out.tags_.push_back({std::string(tag), *id});
    }
    return out;
}

Result<Prompt> PromptMaker::chat(const gen::Generation& generation) const {
    if (!template_) {
        return Error{Code::invalid_argument,
                     "this model has no chat template; use plain completions"};
    }
    text::ChatRenderOptions options;
    options.local_time_s = generation.render.created;
    // Real time on purpose: everybody else's streams stand still while a template runs.
    const auto deadline = std::chrono::steady_clock::now() + render_max_;
    options.keep_going = [deadline] { return std::chrono::steady_clock::now() < deadline; };
    BLOOM_TRY(const text::RenderedPrompt rendered, template_->render(generation, options));
    std::vector<text::ByteRange> ranges;
    ranges.reserve(rendered.user_ranges.size());
    for (const auto& r : rendered.user_ranges)
        ranges.push_back({r.begin, r.end});
    text::EncodeOptions encode;
    encode.add_special = false; // the template has written what it wants
    encode.user_ranges = ranges;
    Prompt prompt;
    prompt.in_reasoning = rendered.in_reasoning;
    BLOOM_OK(tokenizer_->encode(rendered.text, encode, prompt.ids));
    if (needs_bos_ && (prompt.ids.empty() || prompt.ids.front() != *tokenizer_->bos()))
        prompt.ids.insert(prompt.ids.begin(), *tokenizer_->bos());
    return prompt;
}

Result<Prompt> PromptMaker::from_ids(std::span<const std::int32_t> ids, bool echo) const {
    const std::int32_t n = tokenizer_->n_tokens();
    for (const std::int32_t id : ids) {
        if (id >= 0 && id < n) continue;
        return Error{Code::invalid_argument,
                     fmt::format("token id {} of the prompt is outside 0 to {}", id, n - 1)};
    }
    Prompt prompt;
    prompt.ids.assign(ids.begin(), ids.end());
    const std::string text = tokenizer_->decode(ids, true);
    prompt.in_reasoning = opens_thinking(text, format_);
    if (echo) prompt.echo = as_text(text);
    return prompt;
}

Result<Prompt> PromptMaker::from_text(std::string_view text, bool echo) const {
    Prompt prompt;
    BLOOM_OK(tokenizer_->encode(text, {}, prompt.ids));
    prompt.in_reasoning = opens_thinking(text, format_);
    if (echo) prompt.echo = as_text(text);
    return prompt;
}

Result<std::vector<Prompt>> PromptMaker::prepare(const gen::Generation& generation) const {
    std::vector<Prompt> out;
    if (!generation.messages.empty()) {
        BLOOM_TRY(Prompt prompt, chat(generation));
        out.push_back(std::move(prompt));
    }
    const bool raw = generation.messages.empty();
    for (const std::string& text : generation.prompts) {
        if (!raw) break;
        BLOOM_TRY(Prompt prompt, from_text(text, generation.echo));
        out.push_back(std::move(prompt));
    }
    for (const std::vector<std::int32_t>& ids : generation.token_prompts) {
        if (!raw) break;
        BLOOM_TRY(Prompt prompt, from_ids(ids, generation.echo));
        out.push_back(std::move(prompt));
    }
    for (Prompt& prompt : out) {
        if (!prompt.ids.empty()) continue;
        // Something has to stand before the first token: what begins or separates texts.
        const std::optional<std::int32_t> first =
            tokenizer_->bos() ? tokenizer_->bos() : tokenizer_->eos();
        if (!first) return Error{Code::invalid_argument, "the prompt is empty"};
        prompt.ids.push_back(*first);
    }
    return out;
}

text::ConstraintRequest PromptMaker::constraint_of(const gen::Generation& generation) const {
    text::ConstraintRequest out;
    out.tmpl = &generation.tmpl;
    out.format = &generation.format;
    out.calls = format_;
    const bool gemma = format_ == text::OutputFormat::gemma;
    // Models that know the tag think where nobody has switched it off; Gemma where it is asked to.
    const std::string_view open = gemma ? "<|channel>" : "<think>";
    out.may_think = generation.tmpl.enable_thinking.value_or(!gemma) &&
                    std::ranges::any_of(tags_, [&](const auto& tag) { return tag.text == open; });
    return out;
}

text::OutputParserOptions PromptMaker::parser_options(const gen::Generation& generation) const {
    text::OutputParserOptions options;
    options.format = format_;
    options.tag_tokens = tags_;
    options.raw_reasoning = generation.render.reasoning == gen::ReasoningMode::raw;
    options.thinks_first = generation.messages.empty();
    if (options.thinks_first) return options;
    if (generation.tmpl.tool_choice != gen::ToolChoice::none) options.tools = generation.tmpl.tools;
    return options;
}

} // namespace bloom::engine
